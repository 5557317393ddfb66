"""Rows of the table as numbers: means and deviations over seeds, and why a row has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from recbole_tinynews.benchmark.results import COLD, COLD_COUNT, METRICS, SPEEDS, number
from recbole_tinynews.benchmark.suite import Row

AVERAGED = (*METRICS, *COLD, COLD_COUNT, "parameters", *SPEEDS, "peak_memory_mb", "seconds")


class Mean(NamedTuple):
    """Mean over seeds; ``deviation`` is the sample standard deviation, None for one seed."""

    value: float
    deviation: float | None


class SystemResult(NamedTuple):
    """A row of the table; ``why_not`` says why it has no numbers, or why some seeds have none."""

    row: Row
    means: Mapping[str, Mean]
    seeds: Sequence[int] = ()
    why_not: str = ""


def summarise(
    row: Row, results: Mapping[int, Mapping[str, str]], why_not: str = ""
) -> SystemResult:
    """Means over the seeds that have results (rows of ``results.csv``)."""
    means = {}
    for column in AVERAGED:
        values = [number(result, column) for result in results.values()]
        known = [value for value in values if value is not None]
        if known:
            means[column] = Mean(fmean(known), stdev(known) if len(known) > 1 else None)
    return SystemResult(row, means, sorted(results), why_not)
