"""The first metric of each system by length of the history and by hour, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.benchmark.impression_sets import ReadFiles
from recbole_tinynews.benchmark.impressions import ImpressionMetrics
from recbole_tinynews.benchmark.means import Mean
from recbole_tinynews.benchmark.result_table import HEADS, Cell, Table, percent
from recbole_tinynews.benchmark.results import METRICS
from recbole_tinynews.evaluation.slices import HISTORY, HOUR, slices_of

_METRIC = METRICS[0]
_KINDS = {HISTORY: "clicks in the history", HOUR: "hour (UTC)"}


def slice_tables(systems: Sequence[str], read: ReadFiles) -> list[Table]:
    """A table for each kind of slices; none where nothing is known of histories and hours.

    Args:
        systems: labels in the order of the lines.
        read: metrics of impressions, all of the same ones.
    """
    return list(_tables({name: [*read[name].values()] for name in systems if read.get(name)}))


def _tables(read: Mapping[str, Sequence[ImpressionMetrics]]) -> Iterator[Table]:
    known = [each for seeds in read.values() for each in seeds if each.hours is not None]
    if not known or known[0].history_lengths is None or known[0].hours is None:
        return
    ranked = ~np.isnan(known[0].values[:, 0])
    for kind, slices in slices_of(known[0].history_lengths, known[0].hours).items():
        counts = {name: int((part & ranked).sum()) for name, part in slices.items()}
        parts = {name: slices[name] & ranked for name, count in counts.items() if count}
        lines = [
            [Cell(label), *(_cell(seeds, part) for part in parts.values())]
            for label, seeds in read.items()
        ]
        note = (
            f"{HEADS[_METRIC]} in percent, by {_KINDS[kind]}; in brackets, how many test "
            "impressions a slice has. Nothing is tested here, and so nothing marked as the best. "
            "All metrics of each slice are in test_slices of a run's result_file."
        )
        head = [f"System, by {_KINDS[kind]}", *(f"{name} ({counts[name]:,})" for name in parts)]
        yield Table(head, [lines], [note])


def _cell(seeds: Sequence[ImpressionMetrics], part: NDArray[np.bool_]) -> Cell:
    """The mean over the impressions of a slice, and then over seeds."""
    values = [float(each.values[part, 0].mean(dtype=np.float64)) for each in seeds]
    return percent(Mean(fmean(values), stdev(values) if len(values) > 1 else None))
