"""The part of a corpus that is kept for validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HELD_OUT_SHARE, HELD_OUT_MOST = 0.05, 500


def hold_out(texts: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the texts to train on, in order, and of at least one that is held out.

    A corpus is often sorted by source, so the held-out part is drawn from all of it.

    >>> [len(part) for part in hold_out(40, seed=0)]
    [38, 2]
    """
    held_out = max(1, min(HELD_OUT_MOST, int(texts * HELD_OUT_SHARE)))
    order = np.random.default_rng(seed).permutation(texts)
    return np.sort(order[held_out:]), order[:held_out]
