"""The time left of a stage, with a clock that the test turns."""

from __future__ import annotations

from recbole_tinynews.files.progress import StageProgress


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
    assert stage.around("epoch 0") == "stage 1 of 2, epoch 0, about 5:57 left of the stage"
    stage.reach(211)
    assert stage.time_left() == ""
