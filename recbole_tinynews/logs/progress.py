"""Progress of a run's stages, and an estimate of the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


class StageProgress:
    """Progress of one stage, and the time left of its run.

    A step is expected to take the stage's mean time, with validations; before its first one, that
    of stages of the same ``name`` (other teachers), or of the whole run. ``tag`` is unique in the
    run, ``steps`` are optimizer steps, 0 if reused.
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
        """Start the clock after ``step``, unless started."""
        if self._since is None:
            self._since, self.first, self._last = self._clock(), step, last_step
            self.left = last_step - step

    def reach(self, step: int) -> None:
        """Count optimizer steps up to ``step``."""
        if self._since is not None:
            self.taken, self.left = step - self.first, self._last - step
            self.seconds = self._clock() - self._since

    def finish(self) -> None:
        """End the stage, even if early stopping left steps."""
        if self._since is not None:
            self.seconds = self._clock() - self._since
        self.left = 0

    def seconds_left(self) -> float | None:
        """Seconds left of the run; None before its first step."""
        taken = sum(stage.taken for stage in self.run)
        if not taken:
            return None
        of_all = sum(stage.seconds for stage in self.run if stage.taken) / taken
        return sum(stage.left * stage.seconds_per_step(of_all) for stage in self.run)

    def seconds_per_step(self, usual: float) -> float:
        """Mean of its own steps, of stages of its name, or ``usual``."""
        alike = [self] if self.taken else [stage for stage in self.run if stage.name == self.name]
        taken = sum(stage.taken for stage in alike)
        return sum(stage.seconds for stage in alike if stage.taken) / taken if taken else usual

    def time_left(self) -> str:
        """Time left of the run as text; empty if unknown or finished."""
        seconds = self.seconds_left()
        return f"{duration(seconds)} left" if seconds else ""

    def around(self, line: str) -> str:
        """A log line between the stage's label and the time left of the run."""
        left = self.time_left()
        return ", ".join(filter(None, [self.label, line, left and f"about {left} of the run"]))


def number_stages(stages: Sequence[StageProgress]) -> None:
    """Number and link the stages of a run."""
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
