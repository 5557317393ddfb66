"""Slices of evaluated impressions: history length, hour of the day, cold start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

HISTORY, HOUR = "history_length", "hour"
# shortest and longest history of a slice, in clicks
LENGTHS = {"0": (0, 0), "1-5": (1, 5), "6-20": (6, 20), "21-50": (21, 50), "51+": (51, np.inf)}

Slices = Mapping[str, Mapping[str, NDArray[np.bool_]]]


def slices_of(history_lengths: NDArray[np.integer], hours: NDArray[np.integer]) -> Slices:
    """Masks of impressions by kind and slice, ``[impressions]``, without empty slices.

    >>> slices = slices_of(np.array([0, 7, 60]), np.array([9, 9, 23]))
    >>> {kind: list(of_kind) for kind, of_kind in slices.items()}
    {'history_length': ['0', '6-20', '51+'], 'hour': ['09', '23']}
    """
    lengths = {
        name: (shortest <= history_lengths) & (history_lengths <= longest)
        for name, (shortest, longest) in LENGTHS.items()
    }
    every_hour = {f"{hour:02}": hours == hour for hour in range(24)}
    return {
        kind: {name: belongs for name, belongs in of_kind.items() if belongs.any()}
        for kind, of_kind in ((HISTORY, lengths), (HOUR, every_hour))
    }


def hours_of(timestamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """The hour of the day, 0 to 23, of UTC seconds.

    >>> hours_of(np.array([0, 3599, 3600, 90_000])).tolist()
    [0, 0, 1, 1]
    """
    return timestamps // 3600 % 24


def cold_impressions(
    candidates: NDArray[np.integer],
    labels: NDArray[np.integer],
    offsets: NDArray[np.int64],
    clicked_before: Iterable[int],
) -> NDArray[np.bool_]:
    """Impressions with clicks, none on an article clicked in training, ``[impressions]``.

    >>> news, labels = np.array([1, 2, 3, 2, 3]), np.array([0, 1, 1, 0, 1])
    >>> cold_impressions(news, labels, np.array([0, 3, 5]), clicked_before=[2])
    array([False,  True])
    """
    clicked = labels == 1
    known = clicked & np.isin(candidates, np.fromiter(clicked_before, np.int64))
    clicks, known_clicks = (
        np.diff(np.searchsorted(np.flatnonzero(each), offsets)) for each in (clicked, known)
    )
    return (clicks > 0) & (known_clicks == 0)
