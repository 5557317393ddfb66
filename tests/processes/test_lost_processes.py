from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from cluster import environment
from tiny import DATASET, Tiny

from recbole_tinynews.__main__ import run_recbole as main
from recbole_tinynews.files.tensors import load_weights

pytestmark = pytest.mark.whole

STEPS = 60
SOON = 30.0  # seconds in which all processes must have ended
SCRIPT = Path(__file__).parents[2] / "run_recbole.py"


class Training:
    """A training that the tests interrupt: its command, and its processes while it runs."""

    def __init__(self, tiny: Tiny, folder: Path) -> None:
        self.folder, self.tiny = folder, tiny

    def flags(self, processes: int, **settings: object) -> list[str]:
        every = {
            **self.tiny.settings("PLMNR"),
            **{"max_steps": STEPS, "epochs": 99, "eval_steps": 20, "save_steps": 5},
            "history_cache_steps": 10,  # as for EB-NeRD
            **{"checkpoint_dir": self.folder / "saved", **settings},
        }
        flags = [f"--{name}={value}" for name, value in every.items()]
        several = [f"--nproc={processes}"] if processes > 1 else []
        return ["--model=PLMNR", f"-d{DATASET}", *several, *flags]

    @contextlib.contextmanager
    def started(self, processes: int, **settings: object) -> Iterator[subprocess.Popen[str]]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "printed").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, str(SCRIPT), *self.flags(processes, **settings)],
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

    def run(self, **settings: object) -> dict[str, torch.Tensor]:
        """Train to the end in this process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        main(self.flags(1, **settings))
        (weights,) = self.folder.glob("saved/*/PLMNR-*/model.safetensors")
        return load_weights(weights)

    def lose(self, processes: int, lost: int) -> None:
        """Kill one of so many processes once they have saved a state; all must end."""
        alive: list[psutil.Process] = []
        before = self.last_state()

        def kill() -> None:
            self.wait_for_state(before)
            workers = workers_of(os.getpid())
            if len(workers) == processes:
                workers[lost].kill()
            alive.extend(still_running(workers))
            for each in alive:  # else the tests would wait for them
                each.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(SystemExit) as ended:
            main(self.flags(processes))
        killer.join()
        assert ended.value.code != 0
        assert alive == []

    def log(self) -> str:
        return (self.folder / "printed").read_text()

    def last_state(self) -> int:
        """Step of the newest saved state, or 0."""
        states = self.folder.glob("saved/*/PLMNR-*/state/step-*")
        return max((int(each.name.removeprefix("step-")) for each in states), default=0)

    def wait_for_state(self, before: int = 0) -> None:
        """Return when the training has saved two states since step ``before``."""
        for _ in range(3000):
            if self.last_state() >= before + 10:
                return
            time.sleep(0.05)
        raise AssertionError("no state was saved")


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it has started."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def workers_of(pid: int) -> list[psutil.Process]:
    """The processes that train, by rank."""
    modules = []
    for each in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # libraries start short-lived ones
            if "recbole_tinynews" in each.cmdline():
                modules.append(each)
    return sorted(modules, key=lambda each: each.pid)


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended SOON; asks nobody's exit status, which torchrun is to read."""
    end = time.monotonic() + SOON
    while time.monotonic() < end and not all(map(has_ended, processes)):
        time.sleep(0.05)
    return [each for each in processes if not has_ended(each)]


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def assert_all_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=SOON)
    assert alive == []


@pytest.mark.long
def test_killed_processes_end_all_and_any_number_of_them_resumes(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture
) -> None:
    """The others would wait for it until the end of the reservation."""
    caplog.set_level(logging.INFO)
    whole, killed = Training(tiny, tmp_path / "whole"), Training(tiny, tmp_path / "killed")
    expected = whole.run()
    assert "Resuming" not in caplog.text
    for processes, lost in ((2, 0), (3, 1)):
        killed.lose(processes, lost)
        assert f"process {lost} was killed by signal 9" in capsys.readouterr().err
    found = killed.run()
    assert "Resuming from step" in caplog.text
    logs = [log.read_text() for log in killed.folder.glob("saved/*/*/PLMNR/*.log")]
    assert sum("Resuming from step" in log for log in logs) == 2  # with 3 processes, and with 1
    for name, value in expected.items():  # equal but for rounding
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.long
def test_processes_end_when_the_one_that_started_them_is_killed(tiny: Tiny, tmp_path: Path) -> None:
    """They would train on with nobody to end them, and the next run would wait for their lock."""
    training = Training(tiny, tmp_path / "orphans")
    with training.started(2) as process:
        training.wait_for_state()
        workers = workers_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        assert_all_end(workers)


@pytest.mark.long
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
    assert training.log().count("Stages of PLMNR") == 1  # one of them speaks
    assert training.log().count("To resume") == 1
    assert "Traceback" not in training.log()
    assert last.startswith("Stopped; finished stages and saved steps are kept. To resume: python ")
    assert str(SCRIPT) in last
    assert "--nproc=2" in last


@pytest.mark.long
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
