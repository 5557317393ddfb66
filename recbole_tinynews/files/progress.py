"""Progress bars, and the time left of a stage."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from tqdm import tqdm

WIDTH = 80  # maximum columns
SECONDS = 20.0  # between two looks at it where no terminal is


class _Lines:
    """Standard error for tqdm where it is a file or a pipe: a line for each look."""

    def write(self, text: str) -> None:
        if line := text.strip():
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def progress_bar(
    iterable: Iterable[Any] | None = None, *, desc: str, shown: bool = True, **of_tqdm: Any
) -> tqdm:
    """Progress of ``iterable`` or ``update`` calls: a bar in a terminal, or lines of long work."""
    of_tqdm |= {"desc": desc, "disable": not shown}
    if sys.stderr.isatty():
        return tqdm(iterable, ncols=min(WIDTH, shutil.get_terminal_size().columns), **of_tqdm)
    of_tqdm |= {"file": _Lines(), "mininterval": SECONDS, "delay": SECONDS}
    return tqdm(iterable, ncols=0, **of_tqdm)


class StageProgress:
    """Progress of one stage; a step is expected to take the mean time so far, with validations.

    ``tag`` is unique in its run, ``label`` such as "stage 2 of 5"; the clock starts after step
    ``first``.
    """

    def __init__(
        self, tag: str, label: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.tag, self.label, self._clock = tag, label, clock
        self._since: float | None = None
        self.first = self._last = self.step = 0
        self._seconds = 0.0

    def begin(self, step: int, last_step: int) -> None:
        """Start the clock after ``step``, unless started."""
        if self._since is None:
            self._since, self.first, self.step, self._last = self._clock(), step, step, last_step

    def reach(self, step: int) -> None:
        """Count optimizer steps up to ``step``."""
        if self._since is not None:
            self.step, self._seconds = step, self._clock() - self._since

    def time_left(self) -> str:
        """Time left of the stage as text; empty if unknown or finished."""
        taken, left = self.step - self.first, self._last - self.step
        rest = tqdm.format_interval(self._seconds / taken * left) if taken else ""
        return f"{rest} left" if taken and left else ""

    def around(self, line: str) -> str:
        """A log line between the stage's label and the time left of the stage."""
        left = self.time_left()
        return ", ".join(filter(None, [self.label, line, left and f"about {left} of the stage"]))
