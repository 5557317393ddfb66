from __future__ import annotations

import io
from pathlib import Path

import pytest

from recbole_tinynews.benchmark.runner import Board, Outcome, Progress
from recbole_tinynews.benchmark.worker import MEASURE, TRAIN, Job


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def job(action: str, system: str, seed: int = 1) -> Job:
    return Job(action, system, seed, "", "", {}, 1, Path(), Path("a.log"), Path())


def test_a_file_gets_a_line_for_each_change_and_no_more() -> None:
    """A table printed every second would fill the log of a long run."""
    out = io.StringIO()
    board = Board(2, 0, 1, out)
    state = Progress([(job(TRAIN, "A"), 0.0)], [job(TRAIN, "B")])
    board.watch(state)
    board.watch(state)
    board.ended(Outcome(job(TRAIN, "A"), {}, None, 61.0), "AUC 0.6")
    board.ended(Outcome(job(TRAIN, "B"), {}, "bad:\n- worse", 1.0))
    assert out.getvalue().splitlines() == [
        "training  A, seed 1; 0 of 2 done, time left unknown",
        "done      A, seed 1  AUC 0.6  1:01",
        "failed    B, seed 1: bad: - worse (full log: a.log)",
    ]
    assert (board.finished, board.failed) == (1, 1)


def test_a_terminal_shows_what_is_done_running_and_waiting() -> None:
    out, clock = Terminal(), Clock()
    board = Board(10, 1, 1, out, clock)
    waiting = [job(TRAIN, f"S{number}") for number in range(7)]
    clock.now = 90.0
    board.watch(Progress([(job(MEASURE, "A"), 30.0)], waiting))
    lines = out.getvalue().splitlines()
    assert lines == [
        "1 of 10 done, 7 waiting, 0 failed; 1:30 elapsed, time left unknown",
        "measuring A, seed 1  1:00",
    ]
    board.watch(Progress([], []))  # the next state takes the place of the last one
    assert f"\x1b[{len(lines)}F\x1b[J" in out.getvalue()


@pytest.mark.parametrize(("side_by_side", "expected"), [(1, 2 * 100 + 70), (2, 100 + 70)])
def test_time_left_counts_running_and_waiting_jobs(side_by_side: int, expected: float) -> None:
    """One runs for 30 of its 100 seconds, two wait."""
    clock = Clock()
    board = Board(4, 0, side_by_side, io.StringIO(), clock)
    assert board.time_left(Progress([], [job(TRAIN, "A")])) is None
    board.ended(Outcome(job(TRAIN, "A"), {}, None, 100.0))
    clock.now = 130.0
    progress = Progress([(job(TRAIN, "B"), 100.0)], [job(TRAIN, "C"), job(TRAIN, "D")])
    assert board.time_left(progress) == pytest.approx(expected)
    board.ended(Outcome(job(MEASURE, "A"), {}, None, 10.0))
    assert board.time_left(progress) == pytest.approx(expected + 3 * 10)
