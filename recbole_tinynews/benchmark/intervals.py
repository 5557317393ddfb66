"""95 % bootstrap intervals of each system's mean, over users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from recbole_tinynews.benchmark.impressions import ReadFiles, impression_set
from recbole_tinynews.benchmark.results import METRICS
from recbole_tinynews.benchmark.significance import users_random


class Reach(NamedTuple):
    """Distances from a mean to the ends of its 95 % interval, both >= 0."""

    below: float
    above: float


class Intervals(NamedTuple):
    """Reaches by system and metric; ``over`` names the resampled units."""

    reaches: Mapping[str, Mapping[str, Reach]] = {}
    over: str = "users"

    def of(self, system: str, metric: str) -> Reach | None:
        """The reach around a mean; None without per-impression metrics."""
        return self.reaches.get(system, {}).get(metric)


def bootstrap_intervals(read: ReadFiles) -> Intervals:
    """Intervals of each system's mean over seeds and impressions, by resampling users.

    They hold for other users, not other seeds. Draws are the same for every system.
    """
    there = {system: of_system for system, of_system in read.items() if of_system}
    if not there:
        return Intervals()
    known = impression_set(there)
    if len(known.clusters) < 2:
        return Intervals()
    means = np.stack(
        [np.mean([*known.values[each].values()], axis=0, dtype=np.float64) for each in there]
    )
    # a row for each system and metric: [systems * metrics, impressions]
    rows = means.transpose(0, 2, 1).reshape(-1, len(known.clusters))
    found = iter(
        Reach(max(0.0, mean - each.low), max(0.0, each.high - mean))
        for mean, each in zip(rows.mean(axis=1), users_random(rows, known.clusters), strict=True)
    )
    reaches = {system: {metric: next(found) for metric in METRICS} for system in there}
    return Intervals(reaches, "impressions" if known.users is None else "users")
