"""Progress bars: in a terminal alone, and no wider than it or 80 columns."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

WIDTH = 80  # columns at most


def progress_bar(
    iterable: Iterable[Any] | None = None, *, desc: str, shown: bool = True, **of_tqdm: Any
) -> tqdm:
    """A bar on stderr; where that is a file or a pipe, nothing is written.

    Args:
        iterable: what it counts; ``None``: it is told by ``update``.
        desc: what is done.
        shown: whether to show it at all.
        of_tqdm: what else tqdm takes, such as ``total`` and ``unit``.
    """
    width = min(WIDTH, shutil.get_terminal_size().columns)
    hidden = None if shown else True  # None: tqdm asks whether stderr is a terminal
    return tqdm(iterable, desc=desc, ncols=width, disable=hidden, **of_tqdm)
