"""How far the trainings of a run are, and about how long the rest of them takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


class StageProgress:
    """How far a stage is, and how long it and the others of its run take from now on.

    The estimate: a stage that has begun takes for each step left the mean time of its steps so far,
    validations included. One that has not begun takes that of the stages of its name which have
    (other teachers), or else the mean over all steps of this run. Not counted are reused stages,
    what comes before a first step and after the last one, and that early stopping may end a stage
    sooner.

    Args:
        name: what it is called; stages that are trained alike have the same name.
        tag: what its events are called; no other stage of the run has it.
        steps: optimizer steps that it will take, 0 where it is reused.
        clock: seconds since any moment.

    Attributes:
        label: such as ``stage 2 of 5``; empty where the run has no other one.
        run: all stages of the run.
        first: the step after which this run trains it.
    """

    def __init__(
        self,
        name: str,
        tag: str = "",
        steps: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.tag, self.label = name, tag or name, ""
        self.run: Sequence[StageProgress] = [self]
        self.left, self.taken, self.seconds = steps, 0, 0.0
        self._clock = clock
        self.first = self._last = 0
        self._since: float | None = None

    def begin(self, step: int, last_step: int) -> None:
        """The step after ``step`` is taken now; a stage that has begun is left as it is."""
        if self._since is None:
            self._since, self.first, self._last = self._clock(), step, last_step
            self.left = last_step - step

    def reach(self, step: int) -> None:
        """The optimizer step ``step`` is taken."""
        if self._since is not None:
            self.taken, self.left = step - self.first, self._last - step
            self.seconds = self._clock() - self._since

    def finish(self) -> None:
        """It takes no further step, although early stopping may have left some."""
        if self._since is not None:
            self.seconds = self._clock() - self._since
        self.left = 0

    def seconds_left(self) -> float | None:
        """The time left of the whole run; None before its first step."""
        taken = sum(stage.taken for stage in self.run)
        if not taken:
            return None
        of_all = sum(stage.seconds for stage in self.run if stage.taken) / taken
        return sum(stage.left * stage.seconds_per_step(of_all) for stage in self.run)

    def seconds_per_step(self, usual: float) -> float:
        """Its own mean, or that of the stages of its name, or ``usual``."""
        alike = [self] if self.taken else [stage for stage in self.run if stage.name == self.name]
        taken = sum(stage.taken for stage in alike)
        return sum(stage.seconds for stage in alike if stage.taken) / taken if taken else usual

    def time_left(self) -> str:
        """The time left of the whole run as text; empty while it is unknown, and at the end."""
        seconds = self.seconds_left()
        return f"{duration(seconds)} left" if seconds else ""

    def around(self, line: str) -> str:
        """A line of the log, with the stage before it and the time left of the run behind it."""
        left = self.time_left()
        return ", ".join(filter(None, [self.label, line, left and f"about {left} of the run"]))


def put_in_order(stages: Sequence[StageProgress]) -> None:
    """Tell the stages of a run of each other, in the order in which they are made."""
    for number, stage in enumerate(stages, start=1):
        stage.run = stages
        stage.label = f"stage {number} of {len(stages)}" if len(stages) > 1 else ""


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as text.

    >>> duration(5), duration(3723.4)
    ('0:05', '1:02:03')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
