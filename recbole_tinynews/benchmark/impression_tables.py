"""Tables of per-impression metrics: slices, and further metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recbole_tinynews.benchmark.impressions import ReadFiles
from recbole_tinynews.benchmark.result_table import HEADS, percent
from recbole_tinynews.benchmark.results import METRICS, mean_of
from recbole_tinynews.benchmark.table import Cell, Table
from recbole_tinynews.evaluation.slices import HISTORY, HOUR, slices_of

_METRIC = METRICS[0]
_KINDS = {HISTORY: "clicks in the history", HOUR: "hour (UTC)"}


def slice_tables(systems: Sequence[str], read: ReadFiles) -> list[Table]:
    """The first metric by history length and by hour; empty if either is unknown."""
    seeds = {name: [*read[name].values()] for name in systems if read.get(name)}
    known = [each for of_system in seeds.values() for each in of_system if each.hours is not None]
    if not known or known[0].history_lengths is None or known[0].hours is None:
        return []
    ranked = ~np.isnan(known[0].values[:, 0])
    tables = []
    for kind, slices in slices_of(known[0].history_lengths, known[0].hours).items():
        parts = {name: part & ranked for name, part in slices.items() if (part & ranked).any()}
        rows = []
        for label, of_system in seeds.items():
            means = (
                mean_of(float(each.values[part, 0].mean(dtype=float)) for each in of_system)
                for part in parts.values()
            )
            rows.append([Cell(label), *map(percent, means)])
        note = (
            f"{HEADS[_METRIC]} in percent, by {_KINDS[kind]}; in brackets, how many test "
            "impressions a slice has. Nothing is tested here, and so nothing marked as the best. "
            "All metrics of each slice are in test_slices of a run's result_file."
        )
        head = [f"System, by {_KINDS[kind]}"]
        head += [f"{name} ({int(part.sum()):,})" for name, part in parts.items()]
        tables.append(Table(head, [rows], [note]))
    return tables


def further_table(systems: Sequence[str], read: ReadFiles) -> Table:
    """Means of further metrics over impressions and seeds, each in its own unit."""
    values = {label: [each.further for each in read.get(label, {}).values()] for label in systems}
    every = [columns for of_system in values.values() for columns in of_system]
    names = list(dict.fromkeys(name for columns in every for name in columns))
    rows = [
        [Cell(label), *(_mean_cell(name, of_system) for name in names)]
        for label, of_system in values.items()
        if any(of_system)
    ]
    left_out = [text for name in names if (text := _left_out(name, every))]
    notes = [
        "Means of fractions, not percent; novelty in bits, calibration in nats, of which less is "
        "better. What more diverse is worth is not said: no value is marked as the best."
    ]
    if left_out:
        notes.append(f"Impressions without a value are left out: {'; '.join(left_out)}.")
    return Table(["System", *names], [rows] if rows else [], notes)


def _mean_cell(name: str, seeds: Sequence[Mapping[str, np.ndarray]]) -> Cell:
    known = [columns[name][~np.isnan(columns[name])] for columns in seeds if name in columns]
    mean = mean_of(float(values.mean(dtype=float)) for values in known if len(values))
    if mean is None:
        return Cell("")
    spread = "" if mean.deviation is None else f" ± {mean.deviation:.4f}"
    return Cell(f"{mean.value:.4f}{spread}")


def _left_out(name: str, every: Sequence[Mapping[str, np.ndarray]]) -> str:
    """The number of impressions without a value, which may differ between systems."""
    values = [columns[name] for columns in every if name in columns]
    counts = sorted({int(np.isnan(each).sum()) for each in values})
    if counts == [0]:
        return ""
    some = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    return f"{name} {some} of {len(values[0]):,}"
