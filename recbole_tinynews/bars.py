"""Progress bars in a terminal; elsewhere a line at least every half minute."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

WIDTH = 80  # columns at most
SECONDS = 20.0  # between two lines, and a step more


class ProgressLines(tqdm):
    """Progress as whole lines, for a file or a pipe; short work prints none."""

    disable: bool  # of tqdm, which has no types
    _last = 0.0  # when the last line was printed

    def refresh(self, *_: Any, **__: Any) -> None:
        """Print a line if it is time for one."""
        now = self._time()
        if now - (self._last or self.start_t) >= SECONDS:
            self._last = now
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def close(self) -> None:
        """Print the end of work that has printed lines."""
        if self.disable:
            return
        if self._last:
            self.fp.write(f"{self}\n")
        self.disable = True
        self._decr_instances(self)


def progress_bar(
    iterable: Iterable[Any] | None = None, *, desc: str, shown: bool = True, **of_tqdm: Any
) -> tqdm:
    """Progress on stderr: a bar in a terminal, no wider than it or 80 columns; else lines.

    Args:
        iterable: what it counts; ``None``: calls of ``update``.
        desc: what is done.
        shown: whether to show it at all.
        of_tqdm: further arguments of tqdm, such as ``total`` and ``unit``.
    """
    if sys.stderr.isatty():
        width = min(WIDTH, shutil.get_terminal_size().columns)
        return tqdm(iterable, desc=desc, ncols=width, disable=not shown, **of_tqdm)
    return ProgressLines(
        iterable,
        desc=desc,
        ncols=0,  # no bar: counts, times and rate
        mininterval=min(1.0, SECONDS),
        miniters=1,
        delay=1e-9,  # no line at the start
        disable=not shown,
        **of_tqdm,
    )
