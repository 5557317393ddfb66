"""Writes tables, significance tests and figures from existing results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from recbole_tinynews.benchmark.figures import FORMATS, save, size_figure
from recbole_tinynews.benchmark.impression_files import read_files
from recbole_tinynews.benchmark.result_table import (
    as_markdown,
    budget_table,
    cold_table,
    make_table,
)
from recbole_tinynews.benchmark.results import SystemResult
from recbole_tinynews.benchmark.significance import (
    compare_pairs,
    significance_csv,
    significance_table,
)
from recbole_tinynews.benchmark.suite import Suite, compared
from recbole_tinynews.files.whole import write_text

FIGURE = "size"


class Report(NamedTuple):
    """The content of a report; ``seeds`` are those requested for all systems."""

    suite: Suite
    seeds: Sequence[int]
    systems: Sequence[SystemResult]
    notes: Sequence[str] = ()


def write_tables(output: Path, report: Report) -> list[str]:
    """Write the tables of results, budgets and cold articles; returns the file names."""
    suite, systems = report.suite, report.systems
    table = make_table(systems, report.seeds, suite.published, report.notes, suite.ceilings)
    budgets = budget_table(systems, suite.ceilings)
    texts = {
        "table.md": as_markdown(table),
        "budget.md": as_markdown(budgets) if any(budgets.groups) else "",
        "cold.md": as_markdown(cold_table(systems)),
    }
    return _write(output, texts)


def write_report(output: Path, report: Report) -> list[str]:
    """Write a report into the folder of the results; returns the file names."""
    systems = report.systems
    read = read_files({system.row.label: system.impressions for system in systems if system.means})
    pairs = compared(report.suite, [system.row for system in systems if system.means])
    tests = compare_pairs(pairs, read)
    texts = {
        "significance.csv": significance_csv(tests) if tests else "",
        "significance.md": as_markdown(significance_table(tests)) if tests else "",
    }
    written = [*write_tables(output, report), *_write(output, texts)]
    if (figure := size_figure(report.suite, systems)) is not None:
        save(figure, output / FIGURE)
        written += [f"{FIGURE}.{kind}" for kind in FORMATS]
    return written


def _write(output: Path, texts: Mapping[str, str]) -> list[str]:
    for name, text in texts.items():
        if text:
            write_text(output / name, text)
        else:  # of an earlier report
            (output / name).unlink(missing_ok=True)
    return [name for name, text in texts.items() if text]


def notes_of_data(dataset: str, rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Notes on the test set and the speed measurement, from rows of ``results.csv``."""
    impressions = sorted({row["impressions"] for row in rows if row["impressions"]})
    yield f"Data set {dataset}: {' or '.join(impressions) or 'no'} test impressions."
    measured = [row for row in rows if row["news_per_second"]]
    where = sorted({(row["device"], row["threads"], row["precision"]) for row in measured})
    for device, threads, precision in where:
        yield (
            f"Speed: median of 3 runs after one for warm-up, titles of the data set as long as "
            f"they are, {device}, threads: {threads}, precision {precision}, nothing "
            "else of the benchmark running beside it."
        )
