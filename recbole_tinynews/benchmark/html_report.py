"""``report.html``: all results on one offline page, without foreign styles or scripts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from recbole_tinynews.benchmark.pair_tests import PairTests, long_significance_table
from recbole_tinynews.benchmark.plots import CAPTIONS
from recbole_tinynews.benchmark.result_table import budget_table, cold_table, speed_table
from recbole_tinynews.benchmark.results import Report, SystemResult
from recbole_tinynews.benchmark.table import Cell, Table

_PAGE = Path(__file__).parent / "page"
# a number, its deviation or the end of its interval, and a mark
_NUMBER = re.compile(
    r"(?:p [=<] )?([+-]?\d[\d,]*(?:\.\d+)?)(?: (?:±|to) [+-]?[\d,]+(?:\.\d+)?)?[†*]?"
)


def as_html(
    report: Report,
    table: Table,
    tests: PairTests | None,
    slices: Sequence[Table],
    further: Table,
    figures: Mapping[str, str],
) -> str:
    """Render the page; ``slices`` are tables of parts of the test set, ``figures`` SVGs by name."""
    systems = report.systems
    rows = [cells for each in systems for cells in each.cells.values()]
    tables = {
        "Results": [table],
        "Figures": [],
        "Significance": [long_significance_table(tests)] if tests else [],
        "Speed": [speed_table(systems)],
        "Budget": [budget_table(systems, report.suite.ceilings)],
        "Clicked news cold": [cold_table(systems)],
        "History and hour": slices,
        "Further metrics": [further],
        "Settings": [_settings_table(systems), _settings_of_all(report)],
        "Environment": [_environment_table(rows)],
    }
    sections: dict[str, Any] = {
        name: [each for each in of_section if len(each.head) > 1 and any(each.groups)]
        for name, of_section in tables.items()
    }
    sections["Figures"] = {CAPTIONS[name]: svg for name, svg in figures.items()}
    loader = FileSystemLoader(_PAGE)
    page = Environment(loader=loader, autoescape=True, trim_blocks=True, keep_trailing_newline=True)
    page.filters |= {
        "base64": lambda svg: _base64(svg.encode()),
        "columns_of_words": _columns_of_words,
        "number": _number,
        "sha256": lambda text: f"sha256-{_base64(hashlib.sha256(text.encode()).digest())}",
        "slug": lambda name: re.sub("[^a-z0-9]+", "-", name.lower()).strip("-"),
    }
    return page.get_template("report.html.jinja").render(
        title=f"Benchmark on {report.dataset}",
        subtitle=f"Suite {report.suite.name}; {sum(bool(each.means) for each in systems)} systems. "
        "Click the head of a column to sort by it.",
        sections={name: each for name, each in sections.items() if each},
        style=(_PAGE / "report.css").read_text(encoding="utf-8"),
        script=(_PAGE / "report.js").read_text(encoding="utf-8"),
    )


def _number(text: str) -> str | None:
    """The number by which a cell is sorted.

    >>> _number("1,234.50 ± 0.1"), _number("p < 0.0001"), _number("cpu")
    ('1234.50', '0.0001', None)
    """
    found = _NUMBER.fullmatch(text)
    return found[1].replace(",", "") if found else None


def _columns_of_words(table: Table) -> set[int]:
    """Indices of the columns without numbers; the first has names."""
    width = len(table.head)
    rows = [cells for group in table.groups for cells in group if len(cells) == width]
    return {0} | {
        place
        for place in range(1, width)
        if any(cells[place].text and _number(cells[place].text) is None for cells in rows)
    }


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _settings_table(systems: Sequence[SystemResult]) -> Table:
    rows = []
    for row, means, cells in ((each.row, each.means, each.cells) for each in systems if each.means):
        marks = ", ".join(each["settings"] for each in cells.values())
        own = ", ".join(f"{name}={value}" for name, value in row.settings.items())
        size = means.get("parameters")
        layers = str(row.layers) if row.layers and size and size.value else ""  # else no encoder
        reads = " and ".join(row.reads) or "nothing"
        rows.append([*map(Cell, (row.label, row.model, layers, reads, own, marks))])
    head = ["System", "Model", "Layers", "Ranks by", "Settings of its own", "Fingerprints"]
    note = "All settings of a run are in settings.yaml of its stages; defaults are in properties/."
    return Table(head, [rows], [note])


def _settings_of_all(report: Report) -> Table:
    rows = [
        [Cell(name), Cell(str(value)), Cell(source)]
        for source, values in (("suite", report.suite.settings), ("command line", report.settings))
        for name, value in values.items()
    ]
    return Table(["Setting of all systems that have it", "Value", "From"], [rows])


def _environment_table(rows: Sequence[Mapping[str, str]]) -> Table:
    training = Counter(cells["environment"] or "not recorded" for cells in rows)
    speed = Counter(
        f"{cells['device']}, threads {cells['threads']}, {cells['precision']}"
        for cells in rows
        if cells["news_per_second"]
    )
    counted = [
        [Cell(what), Cell(where), Cell(str(count))]
        for what, places in (("training", training), ("speed", speed))
        for where, count in sorted(places.items())
    ]
    note = "Not recorded: results of a version that did not keep its environment."
    notes = [note] if "not recorded" in training else []
    return Table(["Of", "Environment", "Results"], [counted], notes)
