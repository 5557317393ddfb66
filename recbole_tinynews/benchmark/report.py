"""Writes tables, significance tests, figures and an HTML page from existing results."""

from __future__ import annotations

from pathlib import Path

from recbole_tinynews.benchmark.figures import saved
from recbole_tinynews.benchmark.html_report import as_html
from recbole_tinynews.benchmark.impression_tables import further_table, slice_tables
from recbole_tinynews.benchmark.impressions import read_files
from recbole_tinynews.benchmark.pair_tests import (
    bootstrap_intervals,
    compare_pairs,
    significance_csv,
    significance_table,
)
from recbole_tinynews.benchmark.plots import suite_figures
from recbole_tinynews.benchmark.result_table import (
    budget_table,
    cold_table,
    make_table,
    speed_table,
)
from recbole_tinynews.benchmark.results import Report
from recbole_tinynews.benchmark.suite import compared
from recbole_tinynews.benchmark.table import as_latex, as_markdown, as_narrow_latex
from recbole_tinynews.files.whole import whole_file, write_text
from recbole_tinynews.pipeline.training_figure import as_svg

_FIGURES = ("svg", "png", "pdf")


def write_report(output: Path, report: Report) -> list[str]:
    """Write a report into the folder of the results; returns the file names."""
    suite, systems = report.suite, report.systems
    table = make_table(systems, report.seeds, suite.published, report.notes, suite.ceilings)
    budgets = budget_table(systems, suite.ceilings)
    read = read_files({each.row.label: each.impressions for each in systems if each.means})
    tests = compare_pairs(compared(suite, [each.row for each in systems if each.means]), read)
    intervals = bootstrap_intervals(read)
    labels = [each.row.label for each in systems]
    slices, further = slice_tables(labels, read), further_table(labels, read)
    texts = {
        "table.md": as_markdown(table),
        "table.tex": as_latex(table),
        "table_narrow.tex": as_narrow_latex(table),
        "speed.md": as_markdown(speed_table(systems)),
        "budget.md": as_markdown(budgets) if any(budgets.groups) else "",
        "cold.md": as_markdown(cold_table(systems)),
        "slices.md": "\n".join(map(as_markdown, slices)),
        "further.md": as_markdown(further) if further.groups else "",
        "significance.csv": significance_csv(tests) if tests else "",
        "significance.md": as_markdown(significance_table(tests)) if tests else "",
    }
    svgs = {}
    for name, figure in suite_figures(suite, systems, intervals):
        svgs[name] = as_svg(figure)
        for kind in _FIGURES:
            with whole_file(output / f"{name}.{kind}") as place:
                place.write_bytes(svgs[name].encode() if kind == "svg" else saved(figure, kind))
    texts["report.html"] = as_html(report, table, intervals, tests, slices, further, svgs)
    for name, text in texts.items():
        if text:
            write_text(output / name, text)
        else:  # of an earlier report
            (output / name).unlink(missing_ok=True)
    *written, page = [name for name, text in texts.items() if text]
    return [*written, *(f"{name}.{kind}" for name in svgs for kind in _FIGURES), page]
