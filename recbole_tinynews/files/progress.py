"""Progress: bars in a terminal, elsewhere lines; the time left of a run of several stages."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tqdm import tqdm

WIDTH = 80  # maximum columns
SECONDS = 20.0  # minimum between two lines


class ProgressLines(tqdm):
    """Progress as whole lines, for files and pipes; short work prints none."""

    disable: bool  # tqdm has no types
    _last = 0.0  # time of the last line

    def refresh(self, *_: Any, **__: Any) -> None:
        """Print a line if it is due."""
        now = self._time()
        if now - (self._last or self.start_t) >= SECONDS:
            self._last = now
            self._write_line()

    def close(self) -> None:
        """Print a last line if there were any."""
        if not self.disable:
            if self._last:
                self._write_line()
            self.disable = True
            self._decr_instances(self)

    def _write_line(self) -> None:
        self.fp.write(f"{self}\n")
        self.fp.flush()


def progress_bar(
    iterable: Iterable[Any] | None = None, *, desc: str, shown: bool = True, **of_tqdm: Any
) -> tqdm:
    """Progress of ``iterable`` or ``update`` calls: a bar in a terminal, otherwise lines."""
    of_tqdm |= {"desc": desc, "disable": not shown}
    if sys.stderr.isatty():
        return tqdm(iterable, ncols=min(WIDTH, shutil.get_terminal_size().columns), **of_tqdm)
    of_tqdm |= {"ncols": 0, "delay": 1e-9}  # no bar: counts, times and rate; no initial line
    return ProgressLines(iterable, mininterval=min(1.0, SECONDS), miniters=1, **of_tqdm)


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
        usual = _seconds_per_step(self.run)
        if usual is None:
            return None
        return sum(stage.left * stage._expected(usual) for stage in self.run)

    def _expected(self, usual: float) -> float:
        alike = [stage for stage in self.run if stage.name == self.name]
        return _seconds_per_step([self]) or _seconds_per_step(alike) or usual

    def time_left(self) -> str:
        """Time left of the run as text; empty if unknown or finished."""
        seconds = self.seconds_left()
        return f"{duration(seconds)} left" if seconds else ""

    def around(self, line: str) -> str:
        """A log line between the stage's label and the time left of the run."""
        left = self.time_left()
        return ", ".join(filter(None, [self.label, line, left and f"about {left} of the run"]))


def _seconds_per_step(stages: Iterable[StageProgress]) -> float | None:
    """Mean over the steps of the stages that have any; None without steps."""
    begun = [stage for stage in stages if stage.taken]
    taken = sum(stage.taken for stage in begun)
    return sum(stage.seconds for stage in begun) / taken if taken else None


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
