"""Sharding of samples, texts or batches over processes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.processes.group import Group


def shard(order: NDArray[np.int64], group: Group) -> NDArray[np.int64]:
    """This process's items of a list sorted by size, dealt round-robin to balance any cost.

    >>> shard(np.array([4, 0, 2, 1, 3]), Group(rank=1, size=2)).tolist()
    [0, 1]
    """
    return order[group.rank :: group.size]


def shard_slice(count: int, group: Group) -> slice:
    """This process's contiguous slice of ``count`` items.

    >>> [shard_slice(5, Group(rank, 3)) for rank in range(3)]
    [slice(0, 1, None), slice(1, 3, None), slice(3, 5, None)]
    """
    return slice(count * group.rank // group.size, count * (group.rank + 1) // group.size)
