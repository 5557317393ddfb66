"""RecBole's metrics of the first k candidates, one value per evaluated impression.

The definitions are RecBole's, with an impression in the place of a user: its ranked list are its
own candidates, its positive items are its clicks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.evaluation.metrics import RankedImpressions


def hit(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """1 where a click is among the first k, else 0.

    >>> from recbole_tinynews.evaluation.metrics import rank_impressions
    >>> hit(rank_impressions([0.5, 0.4, 0.2, 0.1], [0, 1, 1, 0], [0, 4]), k=1)
    array([0.])
    """
    return np.minimum(_clicks_among_first(ranked, k), 1.0)


def recall(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """Share of the clicks that are among the first k.

    >>> from recbole_tinynews.evaluation.metrics import rank_impressions
    >>> recall(rank_impressions([0.5, 0.4, 0.2, 0.1], [0, 1, 1, 0], [0, 4]), k=2)
    array([0.5])
    """
    return _clicks_among_first(ranked, k) / ranked.clicked


def precision(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """Clicks among the first k, divided by k, even where there are fewer candidates.

    >>> from recbole_tinynews.evaluation.metrics import rank_impressions
    >>> precision(rank_impressions([0.5, 0.4, 0.2, 0.1], [0, 1, 1, 0], [0, 4]), k=5)
    array([0.4])
    """
    return _clicks_among_first(ranked, k) / k


def average_precision(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """Precision at the rank of each click among the first k, over min(k, clicks).

    >>> from recbole_tinynews.evaluation.metrics import rank_impressions
    >>> average_precision(rank_impressions([0.5, 0.4, 0.2, 0.1], [0, 1, 1, 0], [0, 4]), k=2)
    array([0.25])
    """
    among_first = _among_first(ranked, k)
    first = np.repeat(np.cumsum(ranked.clicked) - ranked.clicked, ranked.clicked)  # [clicks]
    # the lowest ranked click of an impression comes first: it has all the others above it
    at_or_above = np.repeat(ranked.clicked, ranked.clicked) - (np.arange(len(first)) - first)
    precisions = among_first * at_or_above / ranked.ranks
    return ranked.per_impression(precisions) / np.minimum(ranked.clicked, k)


def _clicks_among_first(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    return ranked.per_impression(_among_first(ranked, k))


def _among_first(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """1 for each click among the first k, else 0, ``[clicks]``."""
    if k < 1:
        raise ValueError(f"A metric at k expects a cut-off k of at least 1, got {k}. Set topk.")
    return np.where(ranked.ranks <= k, 1.0, 0.0)
