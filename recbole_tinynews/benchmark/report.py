"""Write tables, significance, figures and one page of all of them, from existing results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.benchmark.figures import as_pdf, as_png
from recbole_tinynews.benchmark.further_table import further_table
from recbole_tinynews.benchmark.html_report import as_html
from recbole_tinynews.benchmark.impression_sets import Files, read_files
from recbole_tinynews.benchmark.intervals import bootstrap_intervals
from recbole_tinynews.benchmark.latex_table import as_latex, as_narrow_latex
from recbole_tinynews.benchmark.means import SystemResult
from recbole_tinynews.benchmark.plots import suite_figures
from recbole_tinynews.benchmark.result_table import (
    as_markdown,
    cold_table,
    make_table,
    speed_table,
)
from recbole_tinynews.benchmark.significance_report import compare_pairs, write_significance
from recbole_tinynews.benchmark.slice_tables import slice_tables
from recbole_tinynews.benchmark.suite import Suite, compared
from recbole_tinynews.benchmark.text_files import write_texts
from recbole_tinynews.files.whole import whole_file, write_text
from recbole_tinynews.pipeline.training_figure import as_svg


class Reported(NamedTuple):
    """What a report shows.

    Attributes:
        suite: with the order of rows, the comparisons and the figures.
        dataset: name of the data set.
        seeds: that were asked for.
        systems: rows of the table.
        rows: of ``results.csv`` that they are made of.
        impressions: existing files with the metrics of each impression, by system and seed.
        notes: lines under the table.
        settings: given for all systems.
    """

    suite: Suite
    dataset: str
    seeds: Sequence[int]
    systems: Sequence[SystemResult]
    rows: Sequence[Mapping[str, str]]
    impressions: Files
    notes: Sequence[str] = ()
    settings: Mapping[str, Any] = {}


def write_report(output: Path, reported: Reported) -> list[str]:
    """Write it into ``output``, the folder of the results; returns the names of the files."""
    suite, systems = reported.suite, reported.systems
    table = make_table(systems, reported.seeds, suite.published, reported.notes)
    pairs = compared(suite, [each.row for each in systems if each.means])
    read = read_files(reported.impressions)
    tests = compare_pairs(pairs, read)
    intervals = bootstrap_intervals(read)
    labels = [each.row.label for each in systems]
    slices = slice_tables(labels, read)
    further = further_table(labels, read)
    texts = {
        "table.md": as_markdown(table),
        "table.tex": as_latex(table),
        "table_narrow.tex": as_narrow_latex(table),
        "speed.md": as_markdown(speed_table(systems)),
        "cold.md": as_markdown(cold_table(systems)),
        "slices.md": "\n".join(map(as_markdown, slices)),
        "further.md": as_markdown(further) if further.groups else "",
    }
    written = [*write_texts(output, texts), *write_significance(output, tests)]
    svgs = {}
    for name, figure in suite_figures(suite, systems, intervals):
        svgs[name] = as_svg(figure)
        content = {"svg": svgs[name].encode(), "png": as_png(figure), "pdf": as_pdf(figure)}
        for kind, as_bytes in content.items():
            with whole_file(output / f"{name}.{kind}") as place:
                place.write_bytes(as_bytes)
        written += [f"{name}.{kind}" for kind in content]
    page = as_html(
        f"Benchmark on {reported.dataset}",
        suite,
        table,
        systems,
        intervals,
        tests,
        slices,
        further,
        svgs,
        reported.rows,
        reported.settings,
    )
    write_text(output / "report.html", page)
    return [*written, "report.html"]
