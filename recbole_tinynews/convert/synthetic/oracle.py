"""Metric ceilings: candidates ranked by their true click probabilities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.convert.synthetic.world import Floats, Ints

_METRICS = ("auc", "mrr", "ndcg@5", "ndcg@10")


class Ceiling(NamedTuple):
    """Metric sums over impressions; single-class impressions are skipped and counted."""

    sums: Floats  # one per metric
    impressions: int
    skipped: int

    def plus(self, other: Ceiling) -> Ceiling:
        """The elementwise sum."""
        counts = self.impressions + other.impressions, self.skipped + other.skipped
        return Ceiling(self.sums + other.sums, *counts)

    def report(self) -> dict[str, float]:
        """Means, by metric name."""
        if not self.impressions:
            raise ValueError(
                "The oracle expects an impression with a clicked and an unclicked candidate in "
                f"each split, and all {self.skipped} of one lack them. Generate more impressions."
            )
        averages = np.round(self.sums / self.impressions, 6).tolist()
        counts = {"impressions": self.impressions, "skipped": self.skipped}
        return {**dict(zip(_METRICS, averages, strict=True)), **counts}


def ceiling(scores: Floats, clicked: NDArray[np.bool_], offsets: Ints) -> Ceiling:
    """Sums of AUC, MRR and nDCG over ragged impressions, by MIND's definitions, ties included."""
    lengths = np.diff(offsets)
    row = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((-np.arange(len(row)), -scores, row))
    label, place = clicked[order].astype(float), np.arange(len(row)) - offsets[row] + 1.0

    def total(values: Floats) -> Floats:
        return np.bincount(row, values, len(lengths)).astype(float)

    def ndcg(depth: int) -> Floats:
        gain = (place <= depth) / np.log2(place + 1)
        return total(label * gain) / total((place <= clicks[row]) * gain)

    clicks = total(label)
    usable = (clicks > 0) & (clicks < lengths)
    with np.errstate(divide="ignore", invalid="ignore"):  # single-class impressions, dropped below
        # Mann-Whitney U, from the ascending ranks of the clicked.
        height = lengths[row] + 1 - _shared_places(scores[order], row, place)
        auc = (total(label * height) - clicks * (clicks + 1) / 2) / (clicks * (lengths - clicks))
        parts = auc, total(label / place) / clicks, ndcg(5), ndcg(10)
    sums = np.array([part[usable].sum() for part in parts])
    return Ceiling(sums, int(usable.sum()), int((~usable).sum()))


def _shared_places(scores: Floats, row: Ints, place: Floats) -> Floats:
    """Ranks of sorted candidates; ties share their mean rank."""
    new = np.ones(len(row), dtype=bool)
    new[1:] = (np.diff(scores) != 0) | (np.diff(row) != 0)
    tie = np.cumsum(new) - 1
    return (np.bincount(tie, place) / np.bincount(tie))[tie]
