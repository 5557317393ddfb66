"""Metrics of impressions of many systems and seeds, together: they must be of one test set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.benchmark.impressions import ImpressionMetrics, read_impression_metrics

Files = Mapping[str, Mapping[int, Path]]  # metrics of impressions, by system and seed
ReadFiles = Mapping[str, Mapping[int, ImpressionMetrics]]


class ImpressionSet(NamedTuple):
    """The impressions that were ranked, and what each system with each seed made of them.

    Shapes:
        values: by system and seed ``[impressions, metrics]``, without skipped impressions.
        clusters: ``[impressions]``, numbers from 0 without gaps: the user of each, or the
            impression itself where users are not known, or all impressions are of one.
        users: their number; None where every impression is a cluster.
    """

    values: Mapping[str, Mapping[int, NDArray[np.float32]]]
    clusters: NDArray[np.integer]
    users: int | None


def read_files(files: Files) -> ReadFiles:
    """Read all files."""
    return {
        system: {seed: read_impression_metrics(file) for seed, file in of_system.items()}
        for system, of_system in files.items()
    }


def impression_set(read: ReadFiles) -> ImpressionSet:
    """What was read, as one set.

    Raises:
        ValueError: it is of different impressions.
    """
    every = [each for of_system in read.values() for each in of_system.values()]
    users = _common_users(every)
    ranked = ~np.isnan(every[0].values[:, 0]) if every else np.zeros(0, bool)
    known = np.zeros(int(ranked.sum())) if users is None else users[ranked]
    names, clusters = np.unique(known, return_inverse=True)
    several = len(names) > 1
    return ImpressionSet(
        {
            system: {seed: metrics.values[ranked] for seed, metrics in of_system.items()}
            for system, of_system in read.items()
        },
        clusters if several else np.arange(len(known)),
        len(names) if several else None,
    )


def _common_users(metrics: list[ImpressionMetrics]) -> NDArray[np.integer] | None:
    """The user of each impression, from whichever file knows it."""
    known = [each.users for each in metrics if each.users is not None]
    if len({each.of for each in metrics}) > 1 or any((u != known[0]).any() for u in known):
        raise ValueError(
            "Significance expects every system to have ranked the same impressions of the same "
            "users, got several sets of them. Delete the rows of another data set from "
            "results.csv."
        )
    return known[0] if known else None
