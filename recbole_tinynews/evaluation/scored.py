"""Scored impressions as ragged arrays, and AUC per user."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recbole_tinynews.evaluation.metrics import UNLABELLED, auc, candidate_ranks, rank_impressions


class ScoredImpressions(NamedTuple):
    """Impressions of an evaluation, with score and label of each candidate.

    Shapes:
        scores: ``[candidates in total]``, impression after impression.
        labels: ``[candidates in total]``: 1 clicked, 0 unclicked, -1 in unlabelled impressions.
        offsets: ``[impressions + 1]``: impression i owns ``offsets[i]:offsets[i + 1]``.
        users: ``[impressions]``, a number for each user.
    """

    scores: NDArray[np.floating]
    labels: NDArray[np.integer]
    offsets: NDArray[np.int64]
    users: NDArray[np.integer]

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
        return ScoredImpressions(
            self.scores[candidates], self.labels[candidates], offsets, self.users[kept]
        )


def offsets_of(sizes: NDArray) -> NDArray[np.int64]:
    """Bounds of consecutive impressions of these sizes, ``[impressions + 1]``."""
    return np.append(0, np.cumsum(sizes)).astype(np.int64)


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
