from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_rows import FEW_STEPS, RunHere, make_benchmark, run_with_output, squeeze, write_suite
from tiny import DATASET, SETTINGS, Tiny

from recbole_tinynews.benchmark.benchmark import Benchmark
from recbole_tinynews.benchmark.results import (
    METRICS,
    OWN_BUDGET,
    TEACHERS_BUDGET,
    read_impression_metrics,
)
from recbole_tinynews.pipeline.quick_start import run

pytestmark = pytest.mark.whole

OWN = """\
from recbole_tinynews.model.paper.plmnr import PLMNR


class {name}(PLMNR):
    '''A recommender outside the package.'''

    def calculate_loss(self, interaction):
        {body}
        return super().calculate_loss(interaction)
"""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> RunHere:
    """Jobs run in the test's own process."""
    run_here = RunHere()
    monkeypatch.setattr("recbole_tinynews.benchmark.benchmark.run_jobs", run_here)
    return run_here


@pytest.fixture(name="make_benchmark")
def _make_benchmark(tiny: Tiny, tmp_path: Path) -> Callable[..., Benchmark]:
    return partial(make_benchmark, tiny, tmp_path)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_own(folder: Path, name: str, body: str = "pass") -> str:
    """Write a recommender into a file; returns how the command line names it."""
    path = folder / f"{name.lower()}_system.py"
    path.write_text(OWN.format(name=name, body=body), encoding="utf-8")
    return f"+{path}:{name}"


def trained(output: Path, stage: str) -> int:
    """How often a stage was trained, according to the logs."""
    text = "".join(file.read_text(encoding="utf-8") for file in (output / "logs").glob("*.log"))
    return len(re.findall(rf"Stage .*\b{stage}\S* -> ", text))


class Killed(Benchmark):
    """A benchmark that ends after its first result, as a killed process does."""

    def _keep(self, outcome: Any) -> None:
        super()._keep(outcome)
        raise KeyboardInterrupt


@pytest.mark.long
def test_results_are_those_of_single_runs(make_benchmark, tmp_path: Path) -> None:
    """A row that lost a setting on the way would show results of another experiment."""
    benchmark = make_benchmark(systems=["PLM-NR_1", "Tiny-NewsRec_2"], seeds=[2])
    succeeded, words = run_with_output(benchmark)
    assert succeeded, words
    rows = rows_of(tmp_path / "out" / "results.csv")
    assert [(row["system"], row["seed"]) for row in rows] == [
        ("PLM-NR_1", "2"),
        ("Tiny-NewsRec_2", "2"),
    ]
    planned = benchmark.planned
    for row, model in zip(rows, ["PLMNR", "TinyNewsRec"], strict=True):
        of_row = planned[row["system"]]
        seed = int(row["seed"])
        alone = run(
            model,
            DATASET,
            config_dict={
                **of_row.settings,
                "seed": seed,
                "num_hidden_layers": int(row["system"][-1]),
                "checkpoint_dir": str(tmp_path / "alone"),
            },
        )
        for metric in METRICS:
            assert float(row[metric]) == pytest.approx(alone["test"][metric], abs=1e-6)
            cold = alone["test_cold"][metric]
            assert float(row[f"cold_{metric}"]) == pytest.approx(cold, abs=1e-6)
        assert int(row["parameters"]) == alone["parameters"]
        for whose, columns in (("own", OWN_BUDGET), ("teachers", TEACHERS_BUDGET)):
            assert [int(row[name]) for name in columns] == [*alone["budget"][whose].values()]
        assert (row["teachers_flops"] != "0") == (model == "TinyNewsRec")
        assert float(row["news_per_second"]) > 0
        assert (row["device"], row["precision"], row["threads"]) == ("cpu", "float32", "1")
        kept = read_impression_metrics(benchmark._impressions(of_row, seed))
        assert kept.users is not None
        assert kept.users.tolist() == [*range(7)] * 2
        assert kept.values.shape == (14, len(METRICS))
        for column, metric in enumerate(METRICS):
            assert np.nanmean(kept.values[:, column]) == pytest.approx(float(row[metric]), abs=1e-6)
        assert np.isnan(kept.values).all(axis=1).sum() == int(row["skipped"])


def test_a_killed_benchmark_resumes_where_it_stopped(
    make_benchmark, tmp_path: Path, here: RunHere
) -> None:
    """What was finished is not trained again; then nothing is left to do."""
    killed = make_benchmark(cls=Killed, systems=["plain"])
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    results = tmp_path / "out" / "results.csv"
    (first,) = rows_of(results)
    assert first["system"] == "PLM-NR_2"
    jobs = here.jobs
    jobs.clear()
    succeeded, words = run_with_output(make_benchmark(systems=["plain"]))
    assert succeeded, words
    assert jobs == ["PLM-NR_1"]
    assert "exist     1 results" in words
    before = results.read_bytes()
    jobs.clear()
    succeeded, words = run_with_output(make_benchmark(systems=["plain"]))
    assert succeeded
    assert jobs == []
    assert results.read_bytes() == before
    # other settings give another result
    make_benchmark(systems=["PLM-NR_1"], settings={"learning_rate": 0.5}).run()
    assert jobs == ["PLM-NR_1"]
    assert len(rows_of(results)) == 3


@pytest.mark.usefixtures("here")
def test_ctrl_c_leaves_a_table_of_the_rows_so_far(
    make_benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table came at the very end, hours after the first rows."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recbole_tinynews.benchmark.benchmark.write_report", stop)
    with pytest.raises(KeyboardInterrupt):
        make_benchmark(systems=["PLM-NR_1"]).run()
    table = squeeze((tmp_path / "out" / "table.md").read_text(encoding="utf-8"))
    assert "| PLM-NR_1 | " in table
    assert "not run" not in table


@pytest.mark.long
def test_no_training_outlives_a_killed_benchmark(tiny: Tiny, tmp_path: Path) -> None:
    """It would take the machine, and the lock of a stage, from the next benchmark."""
    sign = tmp_path / "pid"
    body = f"import os, time; open({str(sign)!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    small = {**SETTINGS, **FEW_STEPS, "data_path": str(tiny.data), "plm": str(tiny.plm)}
    command = [
        *(sys.executable, str(Path(__file__).parents[2] / "run_benchmark.py")),
        *(f"--suite={write_suite(tmp_path, settings=small)}", f"--dataset={DATASET}"),
        *(f"--systems=PLM-NR_1,{write_own(tmp_path, 'Slow', body)}", f"--output={tmp_path}/out"),
    ]
    benchmark = subprocess.Popen(command)
    assert within(100, lambda: sign.is_file() and sign.read_text())
    training = int(sign.read_text())
    benchmark.kill()
    benchmark.wait()
    assert within(20, lambda: not running(training))


def within(seconds: float, happens: Callable[[], object]) -> bool:
    """Whether ``happens()`` becomes true within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happens():
            return True
        time.sleep(0.1)
    return False


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_system_that_fails_does_not_stop_the_others(make_benchmark, tmp_path: Path) -> None:
    """One failure must not cost the other systems' hours, and its message must be shown."""
    broken = write_own(tmp_path, "Broken", "raise ValueError('no | such thing')")
    dead = write_own(tmp_path, "Dead", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    benchmark = make_benchmark(systems=["PLM-NR_1", broken, dead])
    succeeded, words = run_with_output(benchmark)
    assert not succeeded
    assert "failed    Broken, seed 1: no | such thing (full log: " in words
    assert re.search(r"done      PLM-NR_1, seed 1  AUC 0\..* news/s, about \d+:\d\d left\n", words)
    rows = rows_of(tmp_path / "out" / "results.csv")
    assert [row["system"] for row in rows] == ["PLM-NR_1"]
    table = squeeze((tmp_path / "out" / "table.md").read_text(encoding="utf-8"))
    assert "| Broken | not run: no \\| such thing |" in table
    assert "| Dead | not run: its process was killed by signal 9 |" in table
    logs = "".join(file.read_text() for file in (tmp_path / "out" / "logs").glob("Broken*.log"))
    assert "Traceback" in logs


@pytest.mark.usefixtures("here")
def test_a_users_own_recommender_runs_beside_the_others(make_benchmark, tmp_path: Path) -> None:
    """A user adds one class in one file, and its settings in a yaml beside it."""
    spec = write_own(tmp_path, "Mine", "assert self.new_setting == 7")
    text = Path(spec[1:].rpartition(":")[0])
    text.write_text(
        text.read_text()
        + "\n    def __init__(self, config, dataset):\n        super().__init__(config, dataset)\n"
        + "        self.new_setting = config['new_setting']\n"
    )
    (tmp_path / "Mine.yaml").write_text("new_setting: 6  # (int) Ours.\n")
    benchmark = make_benchmark(systems=[spec, "PLM-NR_1"], settings={"new_setting": 7})
    succeeded, words = run_with_output(benchmark)
    assert succeeded, words
    assert [row["system"] for row in rows_of(tmp_path / "out" / "results.csv")] == [
        "PLM-NR_1",
        "Mine",
    ]
    assert "| Mine | " in squeeze((tmp_path / "out" / "table.md").read_text(encoding="utf-8"))


def test_two_systems_in_parallel_train_a_shared_stage_once(make_benchmark, tmp_path: Path) -> None:
    """The most expensive stage would run twice, or two processes would write one file."""
    benchmark = make_benchmark(systems=["TinyNewsRec"], jobs=2)
    succeeded, words = run_with_output(benchmark)
    assert succeeded, words
    first, second = words.splitlines()[:2]
    assert (first, second) == (
        "training  Tiny-NewsRec_2, seed 1",
        "training  Tiny-NewsRec_1, seed 1",
    )
    output = tmp_path / "out"
    assert trained(output, "post_train_teacher") == 1
    assert trained(output, "finetune_teacher") == 2  # one for each copy
    assert trained(output, "post_train_student") == 2  # one for each size
    assert len(rows_of(output / "results.csv")) == 2
