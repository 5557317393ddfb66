"""Test the pairs of systems that a suite declares: ``significance.md``, ``significance.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.benchmark.comparisons import Pair
from recbole_tinynews.benchmark.impression_sets import ReadFiles, impression_set
from recbole_tinynews.benchmark.mean_difference import FEWEST_SEEDS, RESAMPLES, SEED
from recbole_tinynews.benchmark.result_table import HEADS, plain_markdown
from recbole_tinynews.benchmark.results import METRICS, as_csv
from recbole_tinynews.benchmark.significance import Comparison, compare
from recbole_tinynews.benchmark.text_files import write_texts

SIGNIFICANT = 0.05
NAMES = ("significance.csv", "significance.md")


class PairTests(NamedTuple):
    """Comparisons by metric and pair, and what they are made of.

    ``users`` is the number of clusters, None where every impression is one. ``untested`` are the
    pairs without a common seed.
    """

    found: Mapping[str, Mapping[Pair, Comparison]]
    impressions: int
    users: int | None
    untested: Sequence[Pair]


def write_significance(output: Path, tests: PairTests | None) -> list[str]:
    """Write the tests; where there are none, outdated files of an earlier report are removed.

    Returns:
        The names of the files.
    """
    texts = ("", "") if tests is None else (as_lines(tests), as_markdown(tests))
    return write_texts(output, dict(zip(NAMES, texts, strict=True)))


def compare_pairs(pairs: Sequence[Pair], read: ReadFiles) -> PairTests | None:
    """Compare each pair over the seeds that both systems have; None if nothing can be tested.

    Skipped impressions are left out. Where users are not known, or all impressions are of one,
    each impression is a cluster.

    Raises:
        ValueError: what was read is of different impressions.
    """
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

    return PairTests(
        found={
            metric: dict(
                zip(
                    tested,
                    compare([differences(pair, column) for pair in tested], clusters),
                    strict=True,
                )
            )
            for column, metric in enumerate(METRICS)
        },
        impressions=len(clusters),
        users=users,
        untested=[pair for pair in pairs if not seeds[pair]],
    )


def as_lines(tests: PairTests) -> str:
    """A csv with a line for each metric and pair."""
    rows: list[dict[str, Any]] = [
        {
            "metric": metric,
            "system": system,
            "other": other,
            **{
                name: value if value is None or name == "seeds" else f"{value:.3g}"
                for name, value in comparison._asdict().items()
            },
        }
        for metric, of_metric in tests.found.items()
        for (system, other), comparison in of_metric.items()
    ]
    return as_csv(["metric", "system", "other", *Comparison._fields], rows)


def as_markdown(tests: PairTests) -> str:
    """Differences in percent points, bold where seeds and users at random leave no doubt."""
    heads = [column for metric in METRICS for column in (HEADS[metric], "seeds fixed")]
    lines = [
        "| system against other | seeds | " + " | ".join(heads) + " |",
        "| --- |" + " ---: |" * (1 + len(heads)),
    ]
    for pair, first in tests.found[METRICS[0]].items():
        cells = [cell for metric in METRICS for cell in _cells(tests.found[metric][pair])]
        against = " against ".join(map(plain_markdown, pair))
        lines.append(f"| {against} | {first.seeds} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, *(f"\n{note}" for note in notes_of_tests(tests))]) + "\n"


def _cells(comparison: Comparison) -> tuple[str, str]:
    """The test with random seeds, if there is one, and the one with fixed seeds beside it."""
    text = f"{100 * comparison.difference:+.2f}"
    if comparison.low is not None and comparison.high is not None:
        text += f" [{100 * comparison.low:+.2f}, {100 * comparison.high:+.2f}]"
    if comparison.p_holm is not None:
        text += f" {p_value(comparison.p_holm)}"
        text = f"**{text}**" if comparison.p_holm < SIGNIFICANT else text
    return text, p_value(comparison.fixed_p_holm)


def p_value(value: float) -> str:
    """Such as ``p = 0.0312``."""
    return f"p = {value:.4f}" if value >= 0.0001 else "p < 0.0001"


def notes_of_tests(tests: PairTests) -> list[str]:
    """What was tested and how, in sentences for under a table."""
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
