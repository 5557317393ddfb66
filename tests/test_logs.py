"""Logs lie with the run's other files, don't grow by reused runs, and never fail a run."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import DATASET, Tiny

import recbole_tinynews
from recbole_tinynews.files.log_file import run_log
from recbole_tinynews.pipeline.quick_start import run

pytestmark = pytest.mark.usefixtures("_shown")
CONFIG = {"state": "INFO", "model": "PLMNR"}


@pytest.fixture
def _shown(caplog: pytest.LogCaptureFixture) -> None:
    """Pytest has set logging up as a host would: only warnings are recorded."""
    caplog.set_level(logging.INFO)


def logs_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.log"))


def test_a_run_that_trains_leaves_one_log_and_one_that_reuses_leaves_none(
    tiny: Tiny, tmp_path: Path
) -> None:
    """RecBole wrote a log and a folder of events for each run and evaluation, into ./log."""
    for _ in range(2):
        run("PLMNR", DATASET, config_dict=tiny.settings("PLMNR", eval_step=1))
        (log,) = logs_in(tmp_path)
        assert log.is_relative_to(tmp_path / "saved" / DATASET / "log")
        events = list(tmp_path.rglob("events.out*"))
        assert {each.relative_to(tmp_path / "saved").parts[2] for each in events} == {"tensorboard"}
        assert len(events) == 2  # scalars, and the settings with the best score
    text = log.read_text(encoding="utf-8")
    assert "Stages of PLMNR" in text  # told before the file was begun
    assert "test result" in text
    assert "\x1b[" not in text
    assert sorted(each.name for each in tmp_path.iterdir()) == ["saved"]


def test_a_setting_says_where_logs_go(tiny: Tiny, tmp_path: Path) -> None:
    """A read-only checkpoint folder of others may be the reason."""
    run("TfIdf", DATASET, config_dict=tiny.settings("TfIdf", log_dir=str(tmp_path / "mine")))
    assert len(logs_in(tmp_path / "mine")) == 1


def test_a_log_that_cannot_be_written_fails_no_run(tiny: Tiny, tmp_path: Path, caplog) -> None:
    """A file in the place of the folder stands for a read-only or full one."""
    (tmp_path / "mine").touch()
    settings = tiny.settings("TfIdf", log_dir=str(tmp_path / "mine"))
    assert run("TfIdf", DATASET, config_dict=settings)["test"]
    assert caplog.text.count("No log is written to") == 1


def test_a_hosts_logging_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RecBole's set-up stayed in the process: the next run wrote into the first one's file."""
    root = logging.getLogger()
    for handlers in (list(root.handlers), []):
        monkeypatch.setattr(root, "handlers", list(handlers))
        level = root.level
        with run_log(CONFIG, tmp_path):
            pass
        assert root.handlers == handlers
        assert root.level == level


REPEATED = """
import gc, os, sys
from recbole_tinynews import run

for model, settings in eval(sys.stdin.read()).items():
    for _ in range(3):
        run(model, "tiny", config_dict=settings)
        gc.collect()
        print(len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))
"""


@pytest.mark.long
@pytest.mark.whole
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not tell")
def test_repeated_runs_leave_no_handle_and_no_thread(tiny: Tiny) -> None:
    """Each run left two threads and a file of events: a notebook ran out of them."""
    usual = {name: tiny.settings(name) for name in ("PLMNR", "TfIdf")}
    usual["BPR"] = tiny.stock_settings()
    ran = subprocess.run(
        [sys.executable, "-c", REPEATED],
        input=repr({name: {**given, "fresh": True} for name, given in usual.items()}),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(recbole_tinynews.__file__).parents[1])},
    )
    counts = [line for line in ran.stdout.splitlines() if re.fullmatch(r"\d+ \d+", line)]
    assert len(counts) == 9
    assert {len({*counts[start : start + 3]}) for start in (0, 3, 6)} == {1}


def test_events_that_cannot_be_written_fail_no_training(tmp_path: Path, caplog) -> None:
    """RecBole's trainer fails at its first event where the folder is read-only or full."""
    from recbole_tinynews.files.progress import StageProgress
    from recbole_tinynews.trainer.stage_events import StageEvents

    (tmp_path / "file").touch()
    config = {"log_wandb": False}
    trainer = SimpleNamespace(
        config=config, folder=tmp_path / "file", progress=StageProgress("any")
    )
    events = StageEvents(trainer)
    for step in range(3):
        events.log("train", step, {"loss": 1.0})
    events.close()
    assert caplog.text.count("No events are written to") == 1
