"""Progress bars in a terminal; elsewhere a line at most every 20 seconds."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
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
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def close(self) -> None:
        """Print a last line if there were any."""
        if self.disable:
            return
        if self._last:
            self.fp.write(f"{self}\n")
        self.disable = True
        self._decr_instances(self)


def progress_bar(
    iterable: Iterable[Any] | None = None, *, desc: str, shown: bool = True, **of_tqdm: Any
) -> tqdm:
    """Progress of ``iterable`` or ``update`` calls: a bar in a terminal, otherwise lines."""
    if sys.stderr.isatty():
        width = min(WIDTH, shutil.get_terminal_size().columns)
        return tqdm(iterable, desc=desc, ncols=width, disable=not shown, **of_tqdm)
    return ProgressLines(
        iterable,
        desc=desc,
        ncols=0,  # no bar: counts, times and rate
        mininterval=min(1.0, SECONDS),
        miniters=1,
        delay=1e-9,  # no initial line
        disable=not shown,
        **of_tqdm,
    )
