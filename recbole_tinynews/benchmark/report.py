"""Tables, significance and figures of a benchmark, written anew from what is there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np

from recbole_tinynews.artifact import write_text
from recbole_tinynews.benchmark.impressions import read_impressions
from recbole_tinynews.benchmark.plots import suite_figures
from recbole_tinynews.benchmark.results import METRICS, as_csv
from recbole_tinynews.benchmark.significance import RESAMPLES, SEED, Comparison, compare
from recbole_tinynews.benchmark.suite import Suite
from recbole_tinynews.benchmark.summary import SystemResult
from recbole_tinynews.benchmark.table import (
    HEADS,
    as_latex,
    as_markdown,
    cold_markdown,
    make_table,
    speed_markdown,
)
from recbole_tinynews.figures import as_png, as_svg

SIGNIFICANT = 0.05
Found = dict[str, dict[str, Comparison]]  # by metric and system


def write_report(
    output: Path,
    suite: Suite,
    seeds: Sequence[int],
    systems: Sequence[SystemResult],
    impressions: Mapping[str, Sequence[Path]],
    notes: Sequence[str],
) -> list[str]:
    """Write them into ``output``; returns the names of the files.

    Args:
        output: folder of the results.
        suite: its order, its reference, its figures.
        seeds: that were asked for.
        systems: rows to be shown.
        impressions: files of each system's metrics by impression, one for each of its seeds.
        notes: what stands under the table.
    """
    table = make_table(systems, seeds, suite.published, notes)
    write_text(output / "table.md", as_markdown(table))
    write_text(output / "table.tex", as_latex(table))
    write_text(output / "speed.md", speed_markdown(systems))
    write_text(output / "cold.md", cold_markdown(systems))
    written = ["table.md", "table.tex", "speed.md", "cold.md"]
    found = significance(suite.reference, impressions)
    if found:
        write_text(output / "significance.csv", significance_csv(suite.reference, found))
        write_text(output / "significance.md", significance_markdown(suite.reference, found))
        written += ["significance.csv", "significance.md"]
    for name, figure in suite_figures(suite, systems):
        write_text(output / f"{name}.svg", as_svg(figure))
        _write_bytes(output / f"{name}.png", as_png(figure))
        written += [f"{name}.svg", f"{name}.png"]
    return written


def significance(reference: str, impressions: Mapping[str, Sequence[Path]]) -> Found:
    """Each system against the reference, by metric; nothing where either has no impressions.

    A system's metric of an impression is the mean over its seeds, so the test speaks of other
    impressions, not of other seeds.
    """
    known = {name: files for name, files in impressions.items() if files}
    missing = [name for name in impressions if name not in known]
    if missing or reference not in known or len(known) < 2:
        if missing:
            getLogger().warning(
                f"Significance stays as it is: metrics of impressions are missing for "
                f"{', '.join(missing)}. They lie beside results.csv where it was made."
            )
        return {}
    digests, means = set(), {}
    for name, files in known.items():
        read = [read_impressions(file) for file in files]
        digests |= {each.of for each in read}
        means[name] = np.mean([each.values.astype(np.float64) for each in read], axis=0)
    if len(digests) > 1:
        raise ValueError(
            "Significance expects every system to have ranked the same impressions, got "
            f"{len(digests)} sets of them in {next(iter(known.values()))[0].parent}. Delete the "
            "rows of another data set from results.csv."
        )
    others = [name for name in known if name != reference]
    ranked = ~np.isnan(means[reference][:, 0])
    found: Found = {}
    for column, metric in enumerate(METRICS):
        values = np.stack([means[name][ranked, column] for name in others])
        compared = compare(means[reference][ranked, column], values)
        found[metric] = dict(zip(others, compared, strict=True))
    return found


def significance_csv(reference: str, found: Found) -> str:
    """A line for each metric and system."""
    rows: list[dict[str, Any]] = [
        {
            "metric": metric,
            "system": system,
            "reference": reference,
            **{name: f"{value:.6g}" for name, value in comparison._asdict().items()},
        }
        for metric, of_metric in found.items()
        for system, comparison in of_metric.items()
    ]
    return as_csv(["metric", "system", "reference", *Comparison._fields], rows)


def significance_markdown(reference: str, found: Found) -> str:
    """Differences in percent points and corrected p, bold where they are significant."""
    lines = [
        "| against " + reference + " | " + " | ".join(HEADS.values()) + " |",
        "| --- |" + " ---: |" * len(METRICS),
    ]
    for system in found[METRICS[0]]:
        cells = []
        for metric in METRICS:
            each = found[metric][system]
            text = f"{100 * each.difference:+.2f} (p = {each.p_holm:.4f})"
            cells.append(f"**{text}**" if each.p_holm < SIGNIFICANT else text)
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    count = len(found[METRICS[0]])
    note = (
        f"\nDifference of means in percent points. Paired bootstrap over impressions, "
        f"{RESAMPLES:,} resamples, seed {SEED}; p corrected after Holm for the {count} comparisons "
        f"of a metric; bold: p < {SIGNIFICANT}. Metrics of an impression are means over seeds.\n"
    )
    return "\n".join([*lines, note])


def _write_bytes(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
