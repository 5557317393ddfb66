"""Significance tests of the pairs that a suite declares, and each system's interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from logging import getLogger
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.benchmark.impressions import ReadFiles, impression_set
from recbole_tinynews.benchmark.result_table import HEADS
from recbole_tinynews.benchmark.results import METRICS, Intervals, Reach, as_csv
from recbole_tinynews.benchmark.significance import (
    FEWEST_SEEDS,
    RESAMPLES,
    SEED,
    Comparison,
    compare,
    users_random,
)
from recbole_tinynews.benchmark.suite import Pair
from recbole_tinynews.benchmark.table import Cell, Table

SIGNIFICANT = 0.05


def bootstrap_intervals(read: ReadFiles) -> Intervals:
    """Intervals of means over seeds, by resampling users: they hold for other users, not seeds."""
    there = {system: of_system for system, of_system in read.items() if of_system}
    if not there:
        return Intervals()
    values, clusters, users = impression_set(there)
    if len(clusters) < 2:
        return Intervals()
    means = np.stack([np.mean([*values[e].values()], axis=0, dtype=np.float64) for e in there])
    # a row for each system and metric: [systems * metrics, impressions]
    rows = means.transpose(0, 2, 1).reshape(-1, len(clusters))
    found = iter(
        Reach(max(0.0, mean - each.low), max(0.0, each.high - mean))
        for mean, each in zip(rows.mean(axis=1), users_random(rows, clusters), strict=True)
    )
    reaches = {system: {metric: next(found) for metric in METRICS} for system in there}
    return Intervals(reaches, "impressions" if users is None else "users")


class PairTests(NamedTuple):
    """Comparisons by metric and pair."""

    found: Mapping[str, Mapping[Pair, Comparison]]
    impressions: int
    users: int | None  # None where each impression is a cluster
    untested: Sequence[Pair]  # without a common seed


def compare_pairs(pairs: Sequence[Pair], read: ReadFiles) -> PairTests | None:
    """Compare each pair over common seeds, without skipped impressions; None without pairs."""
    named = {name for pair in pairs for name in pair}
    values, clusters, users = impression_set(
        {name: of_system for name, of_system in read.items() if name in named}
    )
    seeds = {(a, b): sorted({*values.get(a, {})} & {*values.get(b, {})}) for a, b in pairs}
    tested = [pair for pair in pairs if seeds[pair]]
    if not tested or len(clusters) < 2:
        if pairs:
            getLogger().warning(
                "No pair of systems is tested: none has metrics of its impressions with the same "
                "seed. They were written beside results.csv, where the benchmark ran."
            )
        return None

    def differences(pair: Pair, metric: int) -> NDArray[np.float64]:  # [seeds, impressions]
        system, other = (
            np.stack([values[name][seed][:, metric] for seed in seeds[pair]]) for name in pair
        )
        return system.astype(np.float64) - other

    found = {
        metric: compare([differences(pair, column) for pair in tested], clusters)
        for column, metric in enumerate(METRICS)
    }
    return PairTests(
        {metric: dict(zip(tested, each, strict=True)) for metric, each in found.items()},
        len(clusters),
        users,
        [pair for pair in pairs if not seeds[pair]],
    )


def significance_csv(tests: PairTests) -> str:
    """CSV with one row per metric and pair."""
    rows = [
        {
            **{"metric": metric, "system": system, "other": other},
            **{
                name: value if value is None or name == "seeds" else f"{value:.3g}"
                for name, value in comparison._asdict().items()
            },
        }
        for metric, of_metric in tests.found.items()
        for (system, other), comparison in of_metric.items()
    ]
    return as_csv(["metric", "system", "other", *Comparison._fields], rows)


def significance_table(tests: PairTests) -> Table:
    """One row per pair, in percentage points; bold where significant with random seeds."""
    heads = [column for metric in METRICS for column in (HEADS[metric], "seeds fixed")]
    rows = [
        [
            Cell(" against ".join(pair)),
            Cell(str(first.seeds)),
            *(cell for metric in METRICS for cell in _cells(tests.found[metric][pair])),
        ]
        for pair, first in tests.found[METRICS[0]].items()
    ]
    return Table(["system against other", "seeds", *heads], [rows], notes_of_tests(tests))


def long_significance_table(tests: PairTests) -> Table:
    """One row per pair and metric."""
    rows = []
    for pair, metric in product(tests.found[METRICS[0]], METRICS):
        each = tests.found[metric][pair]
        sure = each.p_holm is not None and each.p_holm < SIGNIFICANT
        rows.append(
            [
                *map(Cell, (*pair, HEADS[metric], str(each.seeds))),
                Cell(f"{100 * each.difference:+.2f}", sure),
                Cell(_interval(each, " to ")),
                Cell("" if each.p_holm is None else p_value(each.p_holm), sure),
                Cell(p_value(each.fixed_p_holm)),
            ]
        )
    head = ["System", "against", "Metric", "Seeds", "Difference", "95 % interval"]
    return Table([*head, "p", "p, seeds fixed"], [rows], notes_of_tests(tests))


def _cells(comparison: Comparison) -> tuple[Cell, Cell]:
    """The tests with random seeds, if there is one, and with fixed seeds."""
    text, sure = f"{100 * comparison.difference:+.2f}", False
    if comparison.p_holm is not None:
        text += f" [{_interval(comparison, ', ')}] {p_value(comparison.p_holm)}"
        sure = comparison.p_holm < SIGNIFICANT
    return Cell(text, sure), Cell(p_value(comparison.fixed_p_holm))


def _interval(comparison: Comparison, between: str) -> str:
    if comparison.low is None or comparison.high is None:
        return ""
    return f"{100 * comparison.low:+.2f}{between}{100 * comparison.high:+.2f}"


def p_value(value: float) -> str:
    """A p-value such as ``p = 0.0312``."""
    return f"p = {value:.4f}" if value >= 0.0001 else "p < 0.0001"


def notes_of_tests(tests: PairTests) -> list[str]:
    """Notes on what was tested and how."""
    comparisons = tests.found[METRICS[0]].values()
    random = sum(each.p is not None for each in comparisons)
    if tests.users:
        unit, clusters = "users", f"{tests.users:,} users (clusters: their impressions together)"
    else:
        unit, clusters = "impressions", f"{tests.impressions:,} impressions (users are not known)"
    notes = [
        f"Difference of means in percent points over {tests.impressions:,} impressions; both "
        "systems of a pair have the same seeds, as many as their column says.",
        f"Seeds and {unit} random: 95 % interval and p of a t test whose variance is that over "
        f"{clusters} plus that over seeds; it holds for other seeds. It needs {FEWEST_SEEDS} seeds"
        f"{', so pairs with fewer have none' if random < len(comparisons) else ''}. "
        f"Bold: p < {SIGNIFICANT}.",
        f"Seeds fixed: p of a bootstrap over {clusters}, {RESAMPLES:,} resamples, seed {SEED}; it "
        "holds for these trained models, not for other seeds.",
        "Each p is corrected after Holm for the comparisons of its column, which were declared "
        f"beforehand: {random} with random seeds, {len(comparisons)} with fixed ones. Intervals "
        "are not corrected.",
    ]
    if tests.untested:
        named = "; ".join(" against ".join(pair) for pair in tests.untested)
        notes.append(f"Not tested, as no seed has impressions of both: {named}.")
    return notes
