"""The time left of a stage, with a clock that the test turns, and bars."""

from __future__ import annotations

import time

import pytest

from recbole_tinynews.files import progress as bars
from recbole_tinynews.files.progress import StageProgress, progress_bar


def test_the_time_left_counts_the_steps_that_are_taken_now() -> None:
    """With those of a stopped run, a step would seem to take no time; any other is invented."""
    now = [1000.0]
    stage = StageProgress("a", "stage 1 of 2", lambda: now[0])
    assert stage.around("line") == "stage 1 of 2, line"
    now[0] += 3600.0  # teachers that encode articles before the first step
    stage.begin(90, 211)
    assert stage.time_left() == ""
    now[0] += 2.0
    stage.reach(91)
    stage.begin(91, 211)  # of the next epoch
    now[0] += 4.0
    stage.reach(92)
    assert stage.around("epoch 0") == "stage 1 of 2, epoch 0, about 05:57 left of the stage"
    stage.reach(211)
    assert stage.time_left() == ""


def test_only_long_work_prints_lines_in_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Encoding 22,052 titles printed nothing for minutes, and looked as if it hung."""
    assert list(progress_bar(range(5), desc="Short")) == [*range(5)]
    monkeypatch.setattr(bars, "SECONDS", 0.05)
    with progress_bar(desc="Encode news", total=8, unit=" tokens") as bar:
        for _ in range(8):
            time.sleep(0.02)
            bar.update()
            bar.set_postfix_str("loss 0.1", refresh=False)
    for _ in progress_bar(range(5), desc="Hidden", shown=False):
        time.sleep(0.02)
    *lines, end = capsys.readouterr().err.split("\n")
    assert end == ""
    assert 2 <= len(lines) < 8
    assert all(line.startswith("Encode news: ") and "\r" not in line for line in lines)
    assert "8/8" in lines[-1]
