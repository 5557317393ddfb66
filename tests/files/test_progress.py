"""The time left of a run, with a clock that the test turns."""

from __future__ import annotations

import pytest

from recbole_tinynews.files.progress import StageProgress, number_stages


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def train(stage: StageProgress, clock: Clock, seconds: float, steps: int, first: int = 0) -> None:
    """All steps of a stage, each as long as the others."""
    stage.begin(first, first + steps)
    for step in range(first + 1, first + steps + 1):
        clock.now += seconds
        stage.reach(step)
    stage.finish()


def run_of(clock: Clock, *planned: tuple[str, int]) -> list[StageProgress]:
    stages = [
        StageProgress(name, f"{name}_{number}", steps, clock)
        for number, (name, steps) in enumerate(planned)
    ]
    number_stages(stages)
    return stages


def test_nothing_is_told_before_the_first_step() -> None:
    """Any number would be invented."""
    first, _ = run_of(Clock(), ("a", 10), ("b", 10))
    assert first.seconds_left() is None
    assert first.around("line") == "stage 1 of 2, line"


def test_stages_that_have_not_begun_take_the_mean_of_all_steps_so_far() -> None:
    clock = Clock()
    first, second, _ = run_of(clock, ("a", 10), ("b", 10), ("c", 20))
    train(first, clock, 1.0, 10)
    assert second.seconds_left() == pytest.approx(10 * 1.0 + 20 * 1.0)
    second.begin(0, 10)
    for step in range(1, 6):
        clock.now += 4.0
        second.reach(step)
    of_all = (10 * 1.0 + 5 * 4.0) / 15
    assert second.seconds_left() == pytest.approx(5 * 4.0 + 20 * of_all)


def test_another_teacher_takes_as_long_as_the_first_one() -> None:
    """The mean over stages of other sizes would be far off for each of several teachers."""
    clock = Clock()
    post, teacher, _ = run_of(clock, ("post", 100), ("teacher", 10), ("teacher", 10))
    train(post, clock, 0.1, 100)
    train(teacher, clock, 5.0, 10)
    assert teacher.seconds_left() == pytest.approx(10 * 5.0)


def test_a_reused_stage_counts_nothing() -> None:
    clock = Clock()
    _, second, _ = run_of(clock, ("a", 0), ("b", 10), ("c", 0))
    second.begin(0, 10)
    clock.now += 3.0
    second.reach(1)
    assert second.seconds_left() == pytest.approx(27.0)
    assert second.label == "stage 2 of 3"


def test_a_resumed_stage_counts_the_steps_that_it_takes_again() -> None:
    """With those of the stopped run, a step would seem to take no time."""
    clock = Clock()
    (only,) = run_of(clock, ("a", 100))
    only.begin(90, 100)
    clock.now += 2.0
    only.reach(91)
    assert only.seconds_left() == pytest.approx(9 * 2.0)


def test_what_comes_before_the_first_step_is_not_taken_for_a_step() -> None:
    """Teachers that encode articles for an hour would make each step an hour long."""
    clock = Clock()
    first, second = run_of(clock, ("a", 10), ("b", 10))
    train(first, clock, 1.0, 10)
    clock.now += 3600.0
    train(second, clock, 1.0, 5)
    second.left = 5
    assert second.seconds_left() == pytest.approx(5.0)


def test_early_stopping_leaves_no_time() -> None:
    clock = Clock()
    first, _ = run_of(clock, ("a", 1000), ("b", 10))
    first.begin(0, 1000)
    clock.now += 1.0
    first.reach(1)
    first.finish()
    assert first.seconds_left() == pytest.approx(10.0)


def test_a_run_of_one_stage_tells_its_time_alone() -> None:
    clock = Clock()
    (only,) = run_of(clock, ("a", 121))
    only.begin(0, 121)
    clock.now += 1.0
    only.reach(1)
    assert only.around("epoch 0") == "epoch 0, about 2:00 left of the run"
