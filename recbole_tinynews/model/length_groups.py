"""Group texts by length, so that almost no padding token is computed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_PADDING = 0.05  # share of the computed tokens
TOKENS_AT_ONCE = 16_384  # bounds the memory of one pass; far beyond where larger passes pay


def length_groups(
    lengths: NDArray, max_padding: float = MAX_PADDING, tokens: int = TOKENS_AT_ONCE
) -> list[NDArray[np.int64]]:
    """Positions of texts that are encoded together, padded to the longest of their group.

    Every position stands in exactly one group. Of the tokens computed for all groups together at
    most ``max_padding`` are padding, and a group has at most ``tokens`` of them unless a single
    text has more.

    >>> [group.tolist() for group in length_groups(np.array([4, 9, 4, 5]), max_padding=0.2)]
    [[0, 2, 3], [1]]
    """
    order = np.argsort(lengths, kind="stable")
    sorted_lengths = np.asarray(lengths)[order]
    widths, firsts, counts = np.unique(sorted_lengths, return_index=True, return_counts=True)
    groups: list[NDArray[np.int64]] = []
    start, useful = 0, 0
    for width, first, count in zip(widths, firsts, counts, strict=True):
        computed = width * (first + count - start)
        if start < first and computed - useful - width * count > max_padding * computed:
            groups += _split(order[start:first], int(sorted_lengths[first - 1]), tokens)
            start, useful = first, 0
        useful += width * count
    if len(order):
        groups += _split(order[start:], int(sorted_lengths[-1]), tokens)
    return groups


def _split(members: NDArray[np.int64], width: int, tokens: int) -> list[NDArray[np.int64]]:
    at_once = max(1, tokens // max(width, 1))
    return [members[i : i + at_once] for i in range(0, len(members), at_once)]
