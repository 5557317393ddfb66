"""``report.html``: everything that a benchmark found, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_tinynews.benchmark.html_page import Picture, Section, as_page
from recbole_tinynews.benchmark.intervals import Intervals
from recbole_tinynews.benchmark.means import SystemResult
from recbole_tinynews.benchmark.plots import CAPTIONS
from recbole_tinynews.benchmark.result_table import HEADS, Cell, Table, cold_table, speed_table
from recbole_tinynews.benchmark.results import METRICS
from recbole_tinynews.benchmark.significance_report import (
    SIGNIFICANT,
    PairTests,
    notes_of_tests,
    p_value,
)
from recbole_tinynews.benchmark.suite import Suite

_QUALITY = METRICS[0]


def as_html(
    title: str,
    suite: Suite,
    table: Table,
    systems: Sequence[SystemResult],
    intervals: Intervals,
    tests: PairTests | None,
    slices: Sequence[Table],
    further: Table,
    figures: Mapping[str, str],
    rows: Sequence[Mapping[str, str]],
    settings: Mapping[str, Any],
) -> str:
    """The page.

    Args:
        title: what was measured.
        suite: whose systems they are.
        table: the table of results, a line for each system.
        systems: those of its lines, in order.
        intervals: around their means.
        tests: of pairs of them; None where nothing could be tested.
        slices: tables of parts of the test impressions.
        further: table of the metrics that were asked for beside the usual ones.
        figures: SVGs by name.
        rows: of ``results.csv`` that are shown.
        settings: given for all systems.
    """
    sections = [
        Section("Results", [_with_intervals(table, systems, intervals)]),
        Section(
            "Figures", pictures=[Picture(svg, CAPTIONS[name]) for name, svg in figures.items()]
        ),
        Section("Significance", [_tests_table(tests)] if tests else []),
        Section("Speed", [speed_table(systems)]),
        Section("Clicked news cold", [cold_table(systems)]),
        Section("History and hour", slices),
        Section("Further metrics", [further]),
        Section("Settings", [_settings_table(systems, rows), _shared_table(suite, settings)]),
        Section("Environment", [_environment_table(rows)]),
    ]
    shown = [each for each in sections if each.pictures or any(_has_lines(t) for t in each.tables)]
    subtitle = (
        f"Suite {suite.name}; {sum(bool(each.means) for each in systems)} systems. A click on the "
        "head of a column sorts by it."
    )
    return as_page(title, subtitle, [_without_empty(each) for each in shown])


def _with_intervals(table: Table, systems: Sequence[SystemResult], intervals: Intervals) -> Table:
    """The table with the interval of the first metric as a last column, if there are any."""
    if not intervals.reaches:
        return table
    column = iter(_interval(each, intervals) for each in systems)
    groups = [
        [
            [*cells, found] if len(cells) == len(table.head) else cells
            for cells, found in zip(group, column, strict=False)
        ]
        for group in table.groups
    ]
    note = (
        f"The interval is a 95 % bootstrap over {intervals.over} for these trained models; it says "
        "nothing about other seeds. Pairs are compared under Significance, not by intervals."
    )
    head = [*table.head, f"{HEADS[_QUALITY]}, 95 % of {intervals.over}"]
    return Table(head, groups, [*table.notes, note])


def _interval(system: SystemResult, intervals: Intervals) -> Cell:
    reach, mean = intervals.of(system.row.label, _QUALITY), system.means.get(_QUALITY)
    if reach is None or mean is None:
        return Cell("")
    low, high = mean.value - reach.below, mean.value + reach.above
    return Cell(f"{100 * low:.2f} to {100 * high:.2f}")


def _tests_table(tests: PairTests) -> Table:
    lines = []
    for pair in tests.found[_QUALITY]:
        for metric in METRICS:
            each = tests.found[metric][pair]
            interval = ""
            if each.low is not None and each.high is not None:
                interval = f"{100 * each.low:+.2f} to {100 * each.high:+.2f}"
            sure = each.p_holm is not None and each.p_holm < SIGNIFICANT
            lines.append(
                [
                    Cell(pair[0]),
                    Cell(pair[1]),
                    Cell(HEADS[metric]),
                    Cell(str(each.seeds)),
                    Cell(f"{100 * each.difference:+.2f}", sure),
                    Cell(interval),
                    Cell("" if each.p_holm is None else p_value(each.p_holm), sure),
                    Cell(p_value(each.fixed_p_holm)),
                ]
            )
    head = [
        "System",
        "against",
        "Metric",
        "Seeds",
        "Difference",
        "95 % interval",
        "p",
        "p, seeds fixed",
    ]
    return Table(head, [lines], notes_of_tests(tests))


def _settings_table(systems: Sequence[SystemResult], rows: Sequence[Mapping[str, str]]) -> Table:
    """What defines each row, and the fingerprints of all settings by which its runs are found."""
    lines = []
    for row, means in ((each.row, each.means) for each in systems if each.means):
        marks = [cells["settings"] for cells in rows if cells["system"] == row.label]
        own = ", ".join(f"{name}={value}" for name, value in row.settings.items())
        reads = " and ".join(row.reads) or "nothing"
        size = means.get("parameters")
        layers = str(row.layers) if row.layers and size and size.value else ""  # else it has none
        lines.append([*map(Cell, (row.label, row.model, layers, reads, own, ", ".join(marks)))])
    head = ["System", "Model", "Layers", "Ranks by", "Settings of its own", "Fingerprints"]
    note = "All settings of a run are in settings.yaml of its stages; defaults are in properties/."
    return Table(head, [lines], [note])


def _shared_table(suite: Suite, settings: Mapping[str, Any]) -> Table:
    lines = [
        [Cell(name), Cell(str(value)), Cell(source)]
        for source, values in (("suite", suite.settings), ("command line", settings))
        for name, value in values.items()
    ]
    return Table(["Setting of all systems that have it", "Value", "From"], [lines], [])


def _environment_table(rows: Sequence[Mapping[str, str]]) -> Table:
    """Where trainings ran, and where speed was measured, with the number of results."""
    of_training = [cells.get("environment") or "not recorded" for cells in rows]
    of_speed = [
        f"{cells['device']}, threads {cells['threads']}, {cells['precision']}"
        for cells in rows
        if cells["news_per_second"]
    ]
    lines = [
        [Cell(what), Cell(where), Cell(str(places.count(where)))]
        for what, places in (("training", of_training), ("speed", of_speed))
        for where in sorted(set(places))
    ]
    note = "Not recorded: results of a version that did not keep its environment."
    notes = [note] if "not recorded" in of_training else []
    return Table(["Of", "Environment", "Results"], [lines], notes)


def _has_lines(table: Table) -> bool:
    return len(table.head) > 1 and any(table.groups)


def _without_empty(section: Section) -> Section:
    return section._replace(tables=[each for each in section.tables if _has_lines(each)])
