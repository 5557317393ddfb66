"""RecBole's metrics of the first k candidates, with impressions instead of users.

>>> from recbole_tinynews.evaluation.metrics import rank_impressions
>>> ranked = rank_impressions([0.5, 0.4, 0.2, 0.1], [0, 1, 1, 0], [0, 4])
>>> [float(metric(ranked, 2)[0]) for metric in (hit, recall, precision, average_precision)]
[1.0, 0.5, 0.5, 0.25]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.evaluation.metrics import RankedImpressions, check_cut_off


def hit(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """1 where a click is among the first k, else 0."""
    return np.minimum(ranked.per_impression(_among_first(ranked, k)), 1.0)


def recall(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """Share of the clicks that are among the first k."""
    return ranked.per_impression(_among_first(ranked, k)) / ranked.clicked


def precision(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """Clicks among the first k, divided by k, even where there are fewer candidates."""
    return ranked.per_impression(_among_first(ranked, k)) / k


def average_precision(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """Precision at the rank of each click among the first k, over min(k, clicks)."""
    among_first = _among_first(ranked, k)
    first = np.repeat(np.cumsum(ranked.clicked) - ranked.clicked, ranked.clicked)  # [clicks]
    # an impression's lowest ranked click comes first, with all the others above it
    at_or_above = np.repeat(ranked.clicked, ranked.clicked) - (np.arange(len(first)) - first)
    precisions = among_first * at_or_above / ranked.ranks
    return ranked.per_impression(precisions) / np.minimum(ranked.clicked, k)


def _among_first(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """1 for each click among the first k, else 0, ``[clicks]``."""
    check_cut_off(k)
    return np.where(ranked.ranks <= k, 1.0, 0.0)
