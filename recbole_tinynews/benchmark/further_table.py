"""The metrics that a benchmark was asked for beside AUC, MRR and nDCG, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.benchmark.impression_sets import ReadFiles
from recbole_tinynews.benchmark.result_table import Cell, Table

Columns = Mapping[str, NDArray[np.floating]]  # values of each impression by metric


def further_table(systems: Sequence[str], read: ReadFiles) -> Table:
    """Means over impressions and seeds, in the metrics' own units; no line if there are none.

    Args:
        systems: labels in the order of the lines.
        read: metrics of impressions.
    """
    further = {label: [each.further for each in read.get(label, {}).values()] for label in systems}
    every = [columns for of_system in further.values() for columns in of_system]
    names = list(dict.fromkeys(name for columns in every for name in columns))
    lines = [
        [Cell(label), *(_cell(name, of_system) for name in names)]
        for label, of_system in further.items()
        if any(of_system)
    ]
    left_out = [text for name in names if (text := _left_out(name, every))]
    notes = [
        "Means of fractions, not percent; novelty in bits, calibration in nats, of which less is "
        "better. What more diverse is worth is not said: no value is marked as the best."
    ]
    if left_out:
        notes.append(f"Impressions without a value are left out: {'; '.join(left_out)}.")
    return Table(["System", *names], [lines] if lines else [], notes)


def _cell(name: str, seeds: Sequence[Columns]) -> Cell:
    known = [columns[name][~np.isnan(columns[name])] for columns in seeds if name in columns]
    means = [float(values.mean(dtype=np.float64)) for values in known if len(values)]
    if not means:
        return Cell("")
    spread = f" ± {stdev(means):.4f}" if len(means) > 1 else ""
    return Cell(f"{fmean(means):.4f}{spread}")


def _left_out(name: str, every: Sequence[Columns]) -> str:
    """How many impressions have no value, if there are any: it may differ between systems."""
    values = [columns[name] for columns in every if name in columns]
    counts = sorted({int(np.isnan(each).sum()) for each in values})
    if counts == [0]:
        return ""
    some = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    return f"{name} {some} of {len(values[0]):,}"
