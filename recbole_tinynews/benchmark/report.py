"""Write tables, significance and figures of a benchmark from its existing results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from recbole_tinynews.benchmark.figures import as_pdf, as_png
from recbole_tinynews.benchmark.intervals import bootstrap_intervals
from recbole_tinynews.benchmark.means import SystemResult
from recbole_tinynews.benchmark.plots import suite_figures
from recbole_tinynews.benchmark.result_table import (
    as_latex,
    as_markdown,
    cold_markdown,
    make_table,
    speed_markdown,
)
from recbole_tinynews.benchmark.significance_report import write_significance
from recbole_tinynews.benchmark.suite import Suite, compared
from recbole_tinynews.files.whole import whole_file, write_text
from recbole_tinynews.pipeline.training_figure import as_svg


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
        suite: with the order of rows, the comparisons and the figures.
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
    pairs = compared(suite, [each.row for each in systems if each.means])
    written += write_significance(output, pairs, impressions)
    for name, figure in suite_figures(suite, systems, bootstrap_intervals(impressions)):
        content = {"svg": as_svg(figure).encode(), "png": as_png(figure), "pdf": as_pdf(figure)}
        for kind, as_bytes in content.items():
            with whole_file(output / f"{name}.{kind}") as place:
                place.write_bytes(as_bytes)
        written += [f"{name}.{kind}" for kind in content]
    return written
