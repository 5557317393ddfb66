from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from cluster import environment
from tiny import DATASET, Tiny

from recbole_tinynews.files.tensors import load_weights

pytestmark = pytest.mark.whole

STEPS = 60
SOON = 30.0  # seconds in which all processes must have ended
SCRIPT = Path(__file__).parents[2] / "run_recbole.py"


class Training:
    """A training that the tests interrupt: its command, and its processes while it runs."""

    def __init__(self, tiny: Tiny, folder: Path) -> None:
        self.folder, self.tiny = folder, tiny

    def command(self, processes: int, **settings: object) -> list[str]:
        every = {
            **self.tiny.settings("PLMNR"),
            **{"max_steps": STEPS, "epochs": 99, "eval_steps": 20, "save_steps": 5},
            "history_cache_steps": 10,  # as for EB-NeRD
            **{"checkpoint_dir": self.folder / "saved", **settings},
        }
        flags = [f"--{name}={value}" for name, value in every.items()]
        several = [f"--nproc={processes}"] if processes > 1 else []
        return [sys.executable, str(SCRIPT), "--model=PLMNR", f"-d{DATASET}", *several, *flags]

    @contextlib.contextmanager
    def started(self, processes: int, **settings: object) -> Iterator[subprocess.Popen[str]]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "printed").open("a") as log:
            process = subprocess.Popen(
                self.command(processes, **settings),
                cwd=self.folder,
                env=environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                # tests in the background ignore Ctrl-C, and so would what they start
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            try:
                yield process
            finally:
                for each in family(process.pid):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        each.kill()
                process.wait()

    def run(self, processes: int, **settings: object) -> dict[str, torch.Tensor]:
        with self.started(processes, **settings) as process:
            assert process.wait(timeout=300) == 0, self.log()
        (weights,) = self.folder.glob("saved/*/PLMNR-*/model.safetensors")
        return load_weights(weights)

    def log(self) -> str:
        return (self.folder / "printed").read_text()

    def wait_for_state(self) -> None:
        """Return when the training has saved a state that is not its first."""
        for _ in range(3000):
            states = self.folder.glob("saved/*/PLMNR-*/state/step-*")
            if any(int(each.name.removeprefix("step-")) >= 10 for each in states):
                return
            time.sleep(0.05)
        raise AssertionError(f"no state was saved: {self.log()}")


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it has started."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def workers_of(pid: int) -> list[psutil.Process]:
    """The processes that train, by rank."""
    forks = [each for each in family(pid) if "multiprocessing.forkserver" in str(each.cmdline())]
    pids = {each.pid for each in forks}
    return sorted((each for each in forks if each.ppid() in pids), key=lambda each: each.pid)


def assert_all_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=SOON)
    assert alive == []


@pytest.fixture(scope="module")
def weights(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Those of one process that was never stopped."""
    return Training(tiny, tmp_path_factory.mktemp("one")).run(1)


def assert_equal_but_for_rounding(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(("lost", "then"), [(0, 1), (1, 3)])
def test_a_killed_process_ends_all_and_any_number_of_them_resumes(
    tiny: Tiny, tmp_path: Path, weights: dict[str, torch.Tensor], lost: int, then: int
) -> None:
    """The others would wait for it until the end of the reservation."""
    training = Training(tiny, tmp_path / "killed")
    with training.started(2) as process:
        training.wait_for_state()
        _, *started = family(process.pid)
        workers = workers_of(process.pid)
        assert len(workers) == 2
        workers[lost].kill()
        assert process.wait(timeout=SOON) != 0
        assert_all_end(started)
    assert "killed by signal 9" in training.log()
    assert_equal_but_for_rounding(training.run(then), weights)
    assert "Resuming from step" in training.log()


def test_processes_end_when_the_one_that_started_them_is_killed(tiny: Tiny, tmp_path: Path) -> None:
    """They would train on with nobody to end them, and the next run would wait for their lock."""
    training = Training(tiny, tmp_path / "orphans")
    with training.started(2) as process:
        training.wait_for_state()
        workers = workers_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        assert_all_end(workers)


def test_ctrl_c_ends_all_with_one_line(tiny: Tiny, tmp_path: Path) -> None:
    """Each process named a command of its own to resume by, and torch added its traceback."""
    training = Training(tiny, tmp_path / "stopped")
    with training.started(2) as process:
        training.wait_for_state()
        everyone = family(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all
        assert process.wait(timeout=SOON) == 130
        assert_all_end(everyone)
    last = training.log().strip().splitlines()[-1]
    assert training.log().count("To resume") == 1
    assert "Traceback" not in training.log()
    assert last.startswith("Stopped; finished stages and saved steps are kept. To resume: python ")
    assert str(SCRIPT) in last
    assert "--nproc=2" in last


def test_a_process_that_stalls_ends_all_with_a_message(tiny: Tiny, tmp_path: Path) -> None:
    """A hanging network file system must not hold eight GPUs for a weekend."""
    training = Training(tiny, tmp_path / "stalled")
    with training.started(2, process_timeout=5) as process:
        training.wait_for_state()
        everyone, workers = family(process.pid), workers_of(process.pid)
        workers[1].suspend()
        _, alive = psutil.wait_procs(everyone, timeout=SOON + 45)  # torch waits 30 s for it to end
        assert alive == []
    assert "another process has stalled" in training.log()
    assert "process_timeout" in training.log()
