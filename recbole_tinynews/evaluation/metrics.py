"""Ranking metrics of ragged impressions as in MIND's evaluation script, one value per impression.

Those of the first k candidates are RecBole's, with impressions instead of users:

>>> ranked = rank_impressions([0.5, 0.4, 0.2, 0.1], [0, 1, 1, 0], [0, 4])
>>> [float(metric(ranked, 2)[0]) for metric in (hit, recall, precision, average_precision)]
[1.0, 0.5, 0.5, 0.25]

Ties rank in favour of the later candidate. Impressions without clicked or unclicked candidates, or
labels, are skipped. Ragged arrays are flat: ``scores`` and ``labels`` ``[candidates in total]``,
``offsets`` ``[impressions + 1]``: impression i owns ``scores[offsets[i]:offsets[i + 1]]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

CLICKED, UNCLICKED, UNLABELLED = 1, 0, -1
SKIPPED = "skipped"  # prefix of a metric's name: number of impressions left out of its mean
_BLOCK = 16_384  # impressions ranked at a time, to bound memory


def is_count(result: str) -> bool:
    """Whether a result is a count rather than a metric.

    >>> [is_count(name) for name in ("skipped", "skipped_calibration@5", "calibration@5")]
    [True, True, False]
    """
    return result in ("impressions", "tokens") or result.startswith(SKIPPED)


class NaNScoreError(ValueError):
    """A score is NaN; ``impression`` is the position of the first one affected."""

    def __init__(self, impression: int, candidate: int, affected: int) -> None:
        super().__init__(
            f"Ranking expects numbers as scores, got NaN for candidate {candidate} of the "
            f"impression at position {impression} (both from 0; NaN in {affected} impressions "
            "altogether). Look for a loss that diverged (lower the learning rate), an overflow in "
            "half precision, or a softmax over nothing but padding."
        )
        self.impression = impression


class RankedImpressions(NamedTuple):
    """Ranks of the clicks of evaluated impressions, each one's lowest ranked click first."""

    evaluated: NDArray[np.bool_]  # [impressions]
    clicked: NDArray[np.int64]  # [evaluated impressions], candidates that were clicked
    unclicked: NDArray[np.int64]  # [evaluated impressions], candidates that were not
    ranks: NDArray[np.int64]  # [clicks], 1 = best
    beaten: NDArray[np.float64]  # [clicks], unclicked candidates scored lower, a tie counts 1/2

    def per_impression(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum ``values`` (``[clicks]``) over each impression, ``[evaluated impressions]``."""
        return np.add.reduceat(values, np.cumsum(self.clicked) - self.clicked)

    def of_all(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """``[evaluated impressions]`` to ``[impressions]``, NaN where skipped."""
        spread = np.full(len(self.evaluated), np.nan)
        spread[self.evaluated] = values
        return spread

    @property
    def skipped(self) -> int:
        """Number of impressions without clicks, unclicked candidates or labels."""
        return len(self.evaluated) - int(np.count_nonzero(self.evaluated))


@dataclass(frozen=True)
class ScoredImpressions:
    """Impressions of an evaluation, with score and label of each candidate, as metrics read them.

    Shapes:
        scores: ``[candidates in total]``, impression after impression.
        labels: ``[candidates in total]``: 1 clicked, 0 unclicked, -1 in unlabelled impressions.
        offsets: ``[impressions + 1]``: impression i owns ``offsets[i]:offsets[i + 1]``.
        users: ``[impressions]``, a number for each user.
        articles: ``beyond_accuracy.RankedArticles``, None if no metric reads them.
    """

    scores: NDArray[np.floating]
    labels: NDArray[np.integer]
    offsets: NDArray[np.int64]
    users: NDArray[np.integer]
    articles: Any = None

    @cached_property
    def ranked(self) -> RankedImpressions:
        """Ranks of the clicks."""
        return rank_impressions(self.scores, self.labels, self.offsets)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of candidates, ``[impressions]``."""
        return np.diff(self.offsets)

    @property
    def ranks(self) -> NDArray[np.int64]:
        """Rank of each candidate in its impression, 1 = best, ``[candidates in total]``."""
        return candidate_ranks(self.scores, self.offsets)

    def spread(self, values: ArrayLike) -> NDArray:
        """Repeat values for the candidates, ``[impressions]`` to ``[candidates in total]``."""
        return np.repeat(np.asarray(values), self.sizes)

    def sum(self, values: ArrayLike) -> NDArray[np.float64]:
        """Sums over each impression, ``[candidates in total]`` to ``[impressions]``.

        >>> scored = ScoredImpressions(np.ones(3), np.ones(3), np.array([0, 2, 2, 3]), np.arange(3))
        >>> scored.sum([1, 2, 4])
        array([3., 0., 4.])
        """
        rows = np.repeat(np.arange(len(self.users)), self.sizes)
        totals = np.bincount(rows, np.asarray(values, np.float64), minlength=len(self.users))
        return totals.astype(np.float64)

    def only(self, kept: NDArray[np.bool_]) -> ScoredImpressions:
        """Impressions where ``kept`` (``[impressions]``) holds."""
        candidates = self.spread(kept)
        offsets = offsets_of(self.sizes[kept])
        scores, labels = self.scores[candidates], self.labels[candidates]
        articles = self.articles and self.articles.only(kept)
        return ScoredImpressions(scores, labels, offsets, self.users[kept], articles)


def offsets_of(sizes: NDArray) -> NDArray[np.int64]:
    """Bounds of consecutive impressions of these sizes, ``[impressions + 1]``."""
    return np.append(0, np.cumsum(sizes)).astype(np.int64)


def check_cut_off(k: int) -> None:
    """Refuse a cut-off below 1."""
    if k < 1:
        raise ValueError(f"A metric at k expects a cut-off k of at least 1, got {k}. Set topk.")


def auc(ranked: RankedImpressions) -> NDArray[np.float64]:
    """Share of (clicked, unclicked) pairs ranked correctly; a tied pair counts one half.

    >>> auc(rank_impressions([0.5, 0.5, 0.2], [1, 0, 0], [0, 3]))
    array([0.75])
    """
    return ranked.per_impression(ranked.beaten) / (ranked.clicked * ranked.unclicked)


def accuracy(ranked: RankedImpressions) -> NDArray[np.float64]:
    """1 where a click (in post-training, the article's own title) is ranked first, else 0.

    >>> accuracy(rank_impressions([0.5, 0.7, 0.2, 0.9, 0.1], [1, 0, 0, 1, 0], [0, 3, 5]))
    array([0., 1.])
    """
    return ranked.per_impression(np.where(ranked.ranks == 1, 1.0, 0.0))


def mrr(ranked: RankedImpressions) -> NDArray[np.float64]:
    """Mean reciprocal rank of **all** clicks of an impression, not only the first.

    >>> mrr(rank_impressions([0.5, 0.5, 0.2], [1, 0, 0], [0, 3]))
    array([0.5])
    """
    return ranked.per_impression(1.0 / ranked.ranks) / ranked.clicked


def ndcg(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """Discounted gain of the clicks among the first k, over the ideal one.

    >>> ndcg(rank_impressions([0.5, 0.5, 0.2], [1, 0, 0], [0, 3]), k=5).round(5)
    array([0.63093])
    """
    check_cut_off(k)
    discounts = 1.0 / np.log2(np.arange(2.0, k + 2))  # [k], of ranks 1..k
    gains = np.append(discounts, 0.0)[np.minimum(ranked.ranks, k + 1) - 1]
    ideal = np.cumsum(discounts)[np.minimum(ranked.clicked, k) - 1]
    return ranked.per_impression(gains) / ideal


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


def gauc(scored: ScoredImpressions) -> float:
    """AUC of each user over the candidates of all their impressions, weighted by clicks.

    As RecBole's GAUC: candidates of different impressions are compared too; users without a clicked
    or an unclicked one are left out. NaN without users.

    >>> scores, labels = np.array([0.9, 0.1, 0.8, 0.2]), np.array([1, 0, 0, 1])
    >>> gauc(ScoredImpressions(scores, labels, np.array([0, 2, 4]), users=np.array([7, 7])))
    0.75
    """
    labelled = scored.labels != UNLABELLED
    _, user = np.unique(scored.spread(scored.users)[labelled], return_inverse=True)
    order = np.argsort(user, kind="stable")
    ranked = rank_impressions(
        scored.scores[labelled][order],
        scored.labels[labelled][order],
        offsets_of(np.bincount(user)),
    )
    if not len(ranked.clicked):
        return float("nan")
    return float(np.average(auc(ranked), weights=ranked.clicked))


def rank_impressions(scores: ArrayLike, labels: ArrayLike, offsets: ArrayLike) -> RankedImpressions:
    """Rank the candidates of each impression once, for all metrics.

    Labels are 1 (clicked), 0 (unclicked) or, for a whole impression, -1 (unlabelled). Scores are
    compared as float64, unrounded; infinite ones are valid. Raises ``NaNScoreError`` for a NaN,
    even in a skipped impression, ``ValueError`` for mismatched arrays or other labels.
    """
    values, bounds = _checked(scores, offsets)
    known = np.asarray(labels)
    if known.shape != values.shape:
        raise ValueError(
            f"Ranking expects one label for each of {len(values)} scores, got labels of shape "
            f"{known.shape}. Pass labels of the same candidates."
        )
    parts = [
        _rank_block(values[block].astype(np.float64), known[block], own_bounds, first)
        for first, block, own_bounds in _blocks(bounds)
    ]
    return RankedImpressions(*map(np.concatenate, zip(*parts, strict=True)))


def _rank_block(
    values: NDArray[Any], labels: NDArray[Any], bounds: NDArray[np.int64], first: int
) -> RankedImpressions:
    clicked, unclicked = _count_labels(labels, bounds, first)
    evaluated = (clicked > 0) & (unclicked > 0)

    order = _ascending(values, bounds)
    places = np.flatnonzero((labels == CLICKED)[order])  # [clicks], ascending
    impression = np.repeat(np.arange(len(clicked)), clicked)  # [clicks]
    kept = evaluated[impression]
    places, impression = places[kept], impression[kept]

    tie_start, tie_end = _tied_run(values[order], bounds, places)
    start = bounds[impression]
    clicks_before = np.searchsorted(places, start)
    clicks_below = np.searchsorted(places, tie_start) - clicks_before
    clicks_tied = np.searchsorted(places, tie_end) - clicks_before - clicks_below
    below = tie_start - start - clicks_below
    tied = tie_end - tie_start - clicks_tied
    return RankedImpressions(
        evaluated=evaluated,
        clicked=clicked[evaluated],
        unclicked=unclicked[evaluated],
        ranks=bounds[impression + 1] - places,
        beaten=below + 0.5 * tied,
    )


def candidate_ranks(scores: ArrayLike, offsets: ArrayLike) -> NDArray[np.int64]:
    """Rank of every candidate in its impression, 1 = best, as in MIND's ``prediction.txt``.

    Ranks are a permutation of 1..candidates; ties rank in favour of the later candidate.

    >>> candidate_ranks([0.5, 0.5, 0.2, 0.1, 0.7], [0, 3, 5])
    array([2, 1, 3, 2, 1])
    """
    values, bounds = _checked(scores, offsets)
    ranks = np.empty(len(values), np.int64)
    for _, block, own_bounds in _blocks(bounds):
        order, places = _ascending(values[block], own_bounds), np.arange(own_bounds[-1])
        ranks[block][order] = np.repeat(own_bounds[1:], np.diff(own_bounds)) - places
    return ranks


def _blocks(offsets: NDArray[np.int64]) -> Iterator[tuple[int, slice, NDArray[np.int64]]]:
    """Blocks of impressions: position of the first, candidates, offsets in the block."""
    for first in range(0, max(1, len(offsets) - 1), _BLOCK):
        bounds = offsets[first : first + _BLOCK + 1]
        yield first, slice(bounds[0], bounds[-1]), bounds - bounds[0]


def _ascending(scores: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Stable order of candidates by impression, then by ascending score."""
    # complex keys (impression, score): 7 times as fast as lexsort, as input is nearly in order
    keys = np.empty(len(scores), np.complex128)
    keys.real = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    keys.imag = scores  # assigned separately: inf * 1j has a real part of NaN
    return np.argsort(keys, kind="stable")


def _tied_run(
    ordered: NDArray[Any], offsets: NDArray[np.int64], places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bounds of the run of equal scores around each of ``places``, within its impression."""
    starts_run = np.append(True, ordered[1:] != ordered[:-1])
    starts_run[offsets[:-1][np.diff(offsets) > 0]] = True
    runs = np.append(np.flatnonzero(starts_run), len(ordered))
    run = np.searchsorted(runs, places, side="right")
    return runs[run - 1], runs[run]


def _checked(scores: ArrayLike, offsets: ArrayLike) -> tuple[NDArray[Any], NDArray[np.int64]]:
    values, bounds = np.asarray(scores), np.asarray(offsets)
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise ValueError(
            "Ranking expects scores as flat real numbers [candidates in total], got shape "
            f"{values.shape} of {values.dtype}. Concatenate the scores of all impressions."
        )
    if bounds.ndim != 1 or len(bounds) == 0 or bounds.dtype.kind not in "iu":
        raise ValueError(
            "Ranking expects offsets as whole numbers [impressions + 1], got shape "
            f"{bounds.shape} of {bounds.dtype}. Pass 0 and the running sum of candidates."
        )
    bounds = bounds.astype(np.int64, copy=False)
    falls = bool((np.diff(bounds) < 0).any())
    if bounds[0] != 0 or bounds[-1] != len(values) or falls:
        raise ValueError(
            f"Ranking expects offsets that rise from 0 to the number of scores, {len(values)}, got "
            f"offsets from {bounds[0]} to {bounds[-1]}{' that fall in between' if falls else ''}. "
            "Pass 0 and the running sum of candidates."
        )
    missing = np.flatnonzero(np.isnan(values))
    if len(missing):
        impressions = np.searchsorted(bounds, missing, side="right") - 1
        first = int(impressions[0])
        raise NaNScoreError(first, int(missing[0] - bounds[first]), len(np.unique(impressions)))
    return values, bounds


def _count_labels(
    labels: NDArray[Any], offsets: NDArray[np.int64], first: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Clicked and unclicked candidates of each impression, both ``[impressions]``."""
    clicked, unclicked, unlabelled = (
        np.diff(np.searchsorted(np.flatnonzero(labels == kind), offsets))
        for kind in (CLICKED, UNCLICKED, UNLABELLED)
    )
    sizes = np.diff(offsets)
    known = clicked + unclicked + unlabelled == sizes
    mixed = (unlabelled > 0) & (unlabelled < sizes)
    wrong = np.flatnonzero(~known | mixed)
    if len(wrong):
        own = labels[offsets[wrong[0]] : offsets[wrong[0] + 1]]
        raise ValueError(
            "Ranking expects the labels of an impression to be 1 (clicked) and 0, or all -1 "
            f"(unlabelled), got {np.unique(own).tolist()} in the impression at position "
            f"{first + wrong[0]}. Map clicks to 1 and unclicked candidates to 0."
        )
    return clicked, unclicked
