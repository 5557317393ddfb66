"""Write tables, significance and figures of a benchmark from its existing results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.benchmark.figures import as_png
from recbole_tinynews.benchmark.impressions import read_impression_metrics
from recbole_tinynews.benchmark.means import SystemResult
from recbole_tinynews.benchmark.plots import suite_figures
from recbole_tinynews.benchmark.result_table import (
    HEADS,
    as_latex,
    as_markdown,
    cold_markdown,
    make_table,
    speed_markdown,
)
from recbole_tinynews.benchmark.results import METRICS, as_csv
from recbole_tinynews.benchmark.significance import RESAMPLES, SEED, Comparison, compare
from recbole_tinynews.benchmark.suite import Suite
from recbole_tinynews.files.whole import whole_file, write_text
from recbole_tinynews.pipeline.training_figure import as_svg

SIGNIFICANT = 0.05
Means = dict[str, NDArray[np.float64]]  # [metrics, impressions] by system
Found = dict[str, dict[tuple[str, str], Comparison]]  # by metric, system and the other one


def write_report(
    output: Path,
    suite: Suite,
    seeds: Sequence[int],
    systems: Sequence[SystemResult],
    impressions: Mapping[str, Mapping[int, Path]],
    notes: Sequence[str],
) -> list[str]:
    """Write them into ``output``; returns the names of the files.

    Args:
        output: folder of the results.
        suite: with the order of rows, the reference and the figures.
        seeds: that were asked for.
        systems: rows to be shown.
        impressions: existing files with the metrics of each impression, by system and seed.
        notes: lines under the table.
    """
    table = make_table(systems, seeds, suite.published, notes)
    write_text(output / "table.md", as_markdown(table))
    write_text(output / "table.tex", as_latex(table))
    write_text(output / "speed.md", speed_markdown(systems))
    write_text(output / "cold.md", cold_markdown(systems))
    written = ["table.md", "table.tex", "speed.md", "cold.md"]
    written += _write_significance(output, suite.reference, impressions)
    for name, figure in suite_figures(suite, systems):
        write_text(output / f"{name}.svg", as_svg(figure))
        with whole_file(output / f"{name}.png") as place:
            place.write_bytes(as_png(figure))
        written += [f"{name}.svg", f"{name}.png"]
    return written


def _write_significance(
    output: Path, reference: str, impressions: Mapping[str, Mapping[int, Path]]
) -> list[str]:
    """Write the tests that are possible; outdated files of an earlier report are removed."""
    texts = {}
    missing = [name for name, files in impressions.items() if not files]
    if missing:
        getLogger().warning(
            f"Significance leaves out {', '.join(missing)}: metrics of their impressions are "
            "missing. They were written beside results.csv, where the benchmark ran."
        )
    there = {name: files for name, files in impressions.items() if files}
    seeds = sorted(set[int]().union(*there.values()).intersection(*there.values()))
    files_of = {name: [files[seed] for seed in seeds] for name, files in there.items()}
    known = read_means(files_of) if seeds else {}
    found = compare_systems(known) if len(known) > 1 else {}
    if found:
        texts["significance.csv"] = significance_csv(found)
    if found and reference in known:
        texts["significance.md"] = significance_markdown(reference, found, seeds, missing)
    elif impressions:
        getLogger().warning(f"significance.md needs results of {reference} and of another system.")
    for name in ("significance.csv", "significance.md"):
        if name in texts:
            write_text(output / name, texts[name])
        else:
            (output / name).unlink(missing_ok=True)
    return [*texts]


def read_means(impressions: Mapping[str, Sequence[Path]]) -> Means:
    """Metrics of the impressions that were ranked, ``[metrics, impressions]`` for each system.

    A system's metric of an impression is the mean over its files, one of each seed, so a test
    generalises to other impressions, not to other seeds.

    Raises:
        ValueError: they are of different impressions.
    """
    digests, means = set(), {}
    for name, files in impressions.items():
        read = [read_impression_metrics(file) for file in files]
        digests |= {each.of for each in read}
        mean = np.mean([each.values.astype(np.float64) for each in read], axis=0)
        means[name] = mean[~np.isnan(mean[:, 0])].T
    if len(digests) > 1:
        raise ValueError(
            "Significance expects every system to have ranked the same impressions, got "
            f"{len(digests)} sets of them in {next(iter(impressions.values()))[0].parent}. Delete "
            "the rows of another data set from results.csv."
        )
    return means


def compare_systems(means: Means) -> Found:
    """Compare each system with each other one, by metric, in the order of the table."""
    names = [*means]
    found: Found = {}
    for column, metric in enumerate(METRICS):
        compared = compare(np.stack([means[name][column] for name in names]))
        found[metric] = {
            (names[system], names[other]): compared[system, other]
            for other in range(len(names))
            for system in range(len(names))
            if system != other
        }
    return found


def significance_csv(found: Found) -> str:
    """A line for each metric, system and other system (``reference``)."""
    rows: list[dict[str, Any]] = [
        {
            "metric": metric,
            "system": system,
            "reference": reference,
            **{name: f"{value:.3g}" for name, value in comparison._asdict().items()},
        }
        for metric, of_metric in found.items()
        for (system, reference), comparison in of_metric.items()
    ]
    return as_csv(["metric", "system", "reference", *Comparison._fields], rows)


def significance_markdown(
    reference: str, found: Found, seeds: Sequence[int], missing: Sequence[str]
) -> str:
    """Differences in percent points and corrected p, bold where they are significant.

    ``seeds`` are those that all systems have; ``missing`` names systems that have none.
    """
    lines = [
        "| against " + reference + " | " + " | ".join(HEADS.values()) + " |",
        "| --- |" + " ---: |" * len(METRICS),
    ]
    systems = [system for system, other in found[METRICS[0]] if other == reference]
    for system in systems:
        cells = []
        for metric in METRICS:
            each = found[metric][system, reference]
            text = f"{100 * each.difference:+.2f} (p = {each.p_holm:.4f})"
            cells.append(f"**{text}**" if each.p_holm < SIGNIFICANT else text)
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    count = len(systems)
    note = (
        f"\nDifference of means in percent points. Paired bootstrap over impressions, "
        f"{RESAMPLES:,} resamples, seed {SEED}; p corrected after Holm for the {count} comparisons "
        f"of a metric; bold: p < {SIGNIFICANT}. Metrics of an impression are means over the seeds "
        f"that all systems have: {', '.join(map(str, seeds))}. "
        "significance.csv has the same against every other system.\n"
    )
    if missing:
        note += f"\nWithout their impressions, and so left out: {', '.join(missing)}.\n"
    return "\n".join([*lines, note])
