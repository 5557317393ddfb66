"""What a person sees of a run: in a terminal, in a pipe, and in the files that it leaves."""

from __future__ import annotations

import json
import logging
import os
import re
import struct
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
from tiny import DATASET, Tiny

from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.plan import shown_settings
from recbole_tinynews.pipeline.quick_start import run

ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
COLUMNS = 80


def write_run(place: int | Path, model: str, settings: dict[str, Any]) -> None:
    """Run with stdout and stderr in a file or an open descriptor, which is closed."""
    with (
        open(place, "w", buffering=1, encoding="utf-8", newline="") as stream,
        redirect_stdout(stream),
        redirect_stderr(stream),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", str(COLUMNS))
        patch.setattr(logging.getLogger(), "handlers", [])  # with pytest's, nothing is printed
        run(model, DATASET, config_dict={**settings, "show_progress": True})


def in_a_terminal(model: str, settings: dict[str, Any]) -> str:
    """What a run writes to a terminal of 80 columns."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    blocks: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # Linux's end of a terminal
            while block := os.read(ours, 1 << 16):
                blocks.append(block)

    reader = threading.Thread(target=read)  # a run that fills the terminal's buffer would wait
    reader.start()
    try:
        write_run(theirs, model, settings)
    finally:
        reader.join()
        os.close(ours)
    return ESCAPE.sub("", b"".join(blocks).decode())


def bars_of(shown: str) -> list[str]:
    return [part for part in re.split(r"[\r\n]", shown) if "%|" in part]


@pytest.mark.whole
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_bars_in_a_terminal_fit_and_name_stage_and_time_left(tiny: Tiny) -> None:
    """RecBole's have 100 columns: each update began a new line in a terminal of 80."""
    settings = tiny.settings("TinyNewsRec", eval_step=1, post_train_teacher_max_steps=20)
    shown = in_a_terminal("TinyNewsRec", {**settings, "post_train_teacher_epochs": 9})
    bars = bars_of(shown)
    assert max(map(len, bars)) <= COLUMNS
    for number in range(1, 6):
        assert any(bar.startswith(f"stage {number} of 5, epoch 0: 100%|") for bar in bars)
    assert any(bar.startswith("Evaluate: 100%|") for bar in bars)
    assert any(re.search(r"10/\d+, loss \d+\.\d{4}, \d\d:\d\d left", bar) for bar in bars)
    # and those of RecBole's models
    bars = bars_of(in_a_terminal("BPR", tiny.stock_settings()))
    assert max(map(len, bars)) <= COLUMNS
    assert any(bar.startswith("epoch 0: 100%|") for bar in bars)
    assert any(bar.startswith("Evaluate: 100%|") for bar in bars)


@pytest.mark.whole
@pytest.mark.parametrize("model", ["TinyNewsRec", "BPR"])
def test_a_pipe_gets_lines_alone(tiny: Tiny, model: str, tmp_path: Path) -> None:
    """Bars were three quarters of the bytes of a log, on one line that no pager shows."""
    epochs = {"post_train_teacher_max_steps": 20, "post_train_teacher_epochs": 9}
    settings = tiny.stock_settings() if model == "BPR" else tiny.settings(model, **epochs)
    file = tmp_path / "output"
    write_run(file, model, settings)
    lines = file.read_bytes().decode()
    assert "\r" not in lines
    assert "\x1b" not in lines
    assert "%|" not in lines
    assert "epoch 0 training [time: " in lines
    if model == "TinyNewsRec":
        for number in range(1, 6):
            assert f"Stage {number} of 5: " in lines
            assert f"stage {number} of 5, epoch 0 training [time: " in lines
        assert " left of the stage" in lines


def test_settings_that_differ_are_shown_and_no_others(tiny: Tiny, caplog) -> None:
    """A hundred lines of defaults hid the five that a user had set."""
    given = tiny.settings("PLMNR", negatives=4, epochs=1)
    config = NewsConfig("PLMNR", DATASET, None, given, ["--history_length=7"])
    first, why, head, *rows = shown_settings(config, {"PLMNR"}).splitlines()
    assert f"PLMNR on {DATASET}, seed 2020, cpu" in first
    assert why.endswith("--list-settings")
    assert head.split() == ["setting", "value", "default", "set", "by"]
    cells = {row.split()[0]: row.split()[1:] for row in rows}
    assert rows[0].split() == ["history_length", "7", "50", "command", "line"]
    assert cells["epochs"] == ["1", "4", "config_dict"]
    assert "negatives" not in cells  # it is given, and the default
    assert "weight_decay" not in cells
    # nor those of stages that do not run
    given = tiny.settings("PLMNR", finetune_teacher_epochs=9, post_train_teacher_epochs=9)
    shown = shown_settings(NewsConfig("PLMNR", DATASET, None, given), {"PLMNR", "finetune_teacher"})
    assert "finetune_teacher_epochs" in shown
    assert "post_train_teacher_epochs" not in shown


@pytest.mark.parametrize("model", ["PLMNR", "TfIdf", "BPR"])
def test_a_finished_run_has_its_test_metrics_beside_its_weights(
    tiny: Tiny, tmp_path: Path, model: str, caplog
) -> None:
    """They were in the log alone, unless a result file was asked for beforehand."""
    caplog.set_level(logging.INFO)
    settings = tiny.stock_settings() if model == "BPR" else tiny.settings(model)
    result = run(model, DATASET, config_dict=settings)
    (file,) = (tmp_path / "saved" / DATASET).glob("*/metrics.json")
    assert json.loads(file.read_text())["test"] == result["test"]
    written = file.stat().st_mtime_ns
    assert run(model, DATASET, config_dict=settings)["test"] == result["test"]
    assert file.stat().st_mtime_ns == written  # a reused run changes nothing
