"""How work is shared out: which samples, texts or batches are those of a process."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.processes.group import Group


def dealt(order: NDArray[np.int64], group: Group) -> NDArray[np.int64]:
    """This process's part of things in the order of their size: each takes one in turn.

    So all parts are equal in number, to one, and in the sum of any cost that grows with the size,
    to that of the largest.

    >>> dealt(np.array([4, 0, 2, 1, 3]), Group(rank=1, size=2)).tolist()
    [0, 1]
    """
    return order[group.rank :: group.size]


def stretch(count: int, group: Group) -> slice:
    """This process's part of things that stay in their order.

    >>> [stretch(5, Group(rank, 3)) for rank in range(3)]
    [slice(0, 1, None), slice(1, 3, None), slice(3, 5, None)]
    """
    return slice(count * group.rank // group.size, count * (group.rank + 1) // group.size)
