"""The tables of a suite, as Markdown: results, budgets, cold articles; and its figure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tabulate import tabulate

from recbole_tinynews.benchmark.results import (
    COLD,
    COLD_COUNT,
    METRICS,
    OWN_BUDGET,
    TEACHERS_BUDGET,
    Mean,
    SystemResult,
)
from recbole_tinynews.benchmark.suite import ADDED, CLICKS_NOW, TITLE, USER_IDS, Suite
from recbole_tinynews.files.whole import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Ceilings = Mapping[str, Mapping[str, int]]
HEADS = {"auc": "AUC", "mrr": "MRR", "ndcg@5": "nDCG@5", "ndcg@10": "nDCG@10"}
_SIZE = {"parameters": "Parameters (M)", "news_per_second": "News (1/s)"}
MORE_TEXT, KNOWS_USERS, OVER, NOW = "*", "‡", "§", "¶"
_BUDGETS = {
    "articles": "articles",
    "tokens": "tokens",
    "clicks_x_candidates": "candidates of clicks",
    "flops": "TFLOP",
}


class Cell(NamedTuple):
    """Text of a cell; ``best`` marks the best value of its column."""

    text: str
    best: bool = False


class Table(NamedTuple):
    """Head, groups of rows, notes; a row without results has two cells: its name and the reason."""

    head: Sequence[str]
    groups: Sequence[Sequence[Sequence[Cell]]]
    notes: Sequence[str] = ()


def make_table(
    systems: Sequence[SystemResult],
    seeds: Sequence[int],
    notes: Sequence[str] = (),
    ceilings: Ceilings | None = None,
) -> Table:
    """Means over seeds in percent; rows of a group are adjacent."""
    sizes = [name for name in _SIZE if any(name in system.means for system in systems)]
    best = {name: _best(systems, name) for name in METRICS}

    def cells(system: SystemResult) -> list[Cell]:
        name = Cell(system.row.label + _mark(system) + (OVER if over(system, ceilings) else ""))
        if not system.means:
            return [name, Cell(f"not run: {system.why_not}")]
        return [
            name,
            *(_percent(system.means.get(metric), best[metric]) for metric in METRICS),
            *(_amount(system, size) for size in sizes),
        ]

    head = ["System", *HEADS.values(), *(_SIZE[name] for name in sizes)]
    groups = [
        [cells(system) for system in members]
        for _, members in groupby(systems, key=lambda system: system.row.group)
    ]
    own = [*_notes(systems, seeds), *_note_of_ceilings(systems, ceilings), *notes]
    return Table(head, groups, own)


def cold_table(systems: Sequence[SystemResult]) -> Table:
    """Metrics of the impressions whose clicked articles were never clicked in training."""
    known, without = _known(systems, COLD)
    best = {name: _best(known, name) for name in COLD}
    rows = [
        [Cell(s.row.label), *(_percent(s.means.get(name), best[name]) for name in COLD)]
        for s in known
    ]
    counts = sorted({s.means[COLD_COUNT].value for s in known if COLD_COUNT in s.means})
    note = (
        "Percent, of those test impressions alone whose clicked news were never clicked in "
        f"training impressions: {' or '.join(f'{count:,.0f}' for count in counts) or 'none'}."
    )
    note += f" Not known of {without}." if without else ""
    return Table(["System, clicked news cold", *HEADS.values()], [rows], [note])


def budget_table(systems: Sequence[SystemResult], ceilings: Ceilings | None = None) -> Table:
    """Text, clicks and FLOPs measured in a system's own training and in that of its teachers."""
    known, without = _known(systems, OWN_BUDGET)
    rows = [
        [
            Cell(system.row.label + (OVER if over(system, ceilings) else "")),
            *(_amount(system, name) for name in (*OWN_BUDGET, *TEACHERS_BUDGET)),
        ]
        for system in known
    ]
    heads = [f"{name}, {whose}" for whose in ("own", "teachers") for name in _BUDGETS.values()]
    notes = [
        "Articles and tokens read in stages without clicks; candidates of all clicks trained on; "
        "FLOP of the layers that train, forward and backward (docs/benchmark.md, Budgets). Own: "
        "the stages of the system's own weights; teachers: all other stages that precede it.",
        *_note_of_ceilings(known, ceilings),
    ]
    notes += [f"Not counted: {without}."] if without else []
    return Table(["System", *heads], [rows], notes)


def _known(
    systems: Sequence[SystemResult], columns: Sequence[str]
) -> tuple[list[SystemResult], str]:
    """Systems with values in these columns, and the names of the others that have results."""
    known = [system for system in systems if any(name in system.means for name in columns)]
    others = [system.row.label for system in systems if system.means and system not in known]
    return known, ", ".join(others)


def over(system: SystemResult, ceilings: Ceilings | None) -> bool:
    """Whether a system or its teachers exceeded a ceiling of the suite."""
    means, limits = system.means, ceilings or {}
    return any(
        f"{prefix}{name}" in means and means[f"{prefix}{name}"].value > limit
        for kind, prefix in (("student", ""), ("teachers", "teachers_"))
        for name, limit in limits.get(kind, {}).items()
    )


def _note_of_ceilings(systems: Sequence[SystemResult], ceilings: Ceilings | None) -> Iterator[str]:
    if not any(over(system, ceilings) for system in systems):
        return
    listed = "; ".join(
        f"{kind}: " + ", ".join(f"{value:,} {_BUDGETS[name]}" for name, value in limits.items())
        for kind, limits in (ceilings or {}).items()
    )
    yield f"{OVER} used more than the suite's ceiling ({listed})."


def _amount(system: SystemResult, name: str) -> Cell:
    mean = system.means.get(name)
    if mean is None:
        return Cell("")
    if name == "parameters":
        return Cell(f"{mean.value / 1e6:.2f}")
    return Cell(f"{mean.value / 1e12:,.3g}" if name.endswith("flops") else f"{mean.value:,.0f}")


def _percent(mean: Mean | None, best: float | None) -> Cell:
    """A mean and its deviation in percent; ``best``: the column's best, as printed."""
    if mean is None:
        return Cell("")
    value = round(100 * mean.value, 2)
    spread = "" if mean.deviation is None else f" ± {100 * mean.deviation:.2f}"
    return Cell(f"{value:.2f}{spread}", value == best)


def _best(systems: Sequence[SystemResult], metric: str) -> float | None:
    """The best value, rounded as printed: values that look equal are equally bold."""
    values = [system.means[metric].value for system in systems if metric in system.means]
    return round(100 * max(values), 2) if len(values) > 1 else None


def _more_text(system: SystemResult) -> str:
    """Texts that a system ranks by; empty if it is the title alone, or none."""
    reads = system.row.reads
    texts = [name for name in reads if name != USER_IDS and not name.startswith(CLICKS_NOW)]
    return "" if {*texts} <= {*TITLE} else " and ".join(texts)


def _counters(system: SystemResult) -> list[str]:
    return [name for name in system.row.reads if name.startswith(CLICKS_NOW)]


def _mark(system: SystemResult) -> str:
    of_text = MORE_TEXT if _more_text(system) else ""
    of_users = KNOWS_USERS if USER_IDS in system.row.reads else ""
    return of_text + of_users + (NOW if _counters(system) else "")


def _notes(systems: Sequence[SystemResult], seeds: Sequence[int]) -> Iterator[str]:
    listed = ", ".join(map(str, seeds))
    spread = ", mean ± standard deviation over seeds" if len(seeds) > 1 else ", seed"
    yield f"Percent, per impression{spread} {listed}."
    if texts := {*map(_more_text, systems)} - {""}:
        yield f"{MORE_TEXT} ranks by other text than the title alone: {'; '.join(sorted(texts))}."
    if any(USER_IDS in system.row.reads for system in systems):
        yield f"{KNOWS_USERS} has a vector for each user of the training data."
    if counters := {name for system in systems for name in _counters(system)}:
        named = "; ".join(sorted(counters))
        yield f"{NOW} ranks by what is read now in this sample of users: {named}."
    for system in systems:
        if system.means and len(system.cells) < len(seeds):
            why = f": {system.why_not}" if system.why_not else ""
            ran = ", ".join(map(str, sorted(system.cells)))
            yield f"{system.row.label}: seeds {ran} of {listed}{why}."


def as_markdown(table: Table) -> str:
    """GitHub Markdown; the best of a column is bold, an empty row separates groups."""
    rows: list[list[str]] = []
    for group in table.groups:
        rows += [[""] * len(table.head)] * bool(rows)
        rows += [[_markdown(cell) for cell in cells] for cells in group]
    aligned = ["left", *["right"] * (len(table.head) - 1)] if rows else None
    text = tabulate(rows, table.head, "pipe", colalign=aligned, disable_numparse=True)
    return "\n\n".join([text, *(re.sub(r"^\*", r"\\*", note) for note in table.notes)]) + "\n"


def _markdown(cell: Cell) -> str:
    r"""Escape text that would become a column, emphasis, link or HTML tag.

    >>> _markdown(Cell("a|b <img> *"))
    'a\\|b &lt;img> \\*'
    """
    if cell.best:
        return f"**{cell.text}**"
    text = " ".join(cell.text.split()).replace("<", "&lt;")
    return re.sub(r"[|*`]|\[(?![+-])", r"\\\g<0>", text)  # not [-1, +1]


FORMATS = ("svg", "png")
# Okabe and Ito's colour-blind safe palette without its yellow, which is invisible on white;
# dashes and markers are for black-and-white print
COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
DASHES = ("-", "--", "-.", (0, (5, 1)), ":")
MARKERS = ("o", "s", "^", "D", "v")
_COLUMN = 3.35  # inches: one column of a two-column paper
_TWO_IN_A_ROW = 20  # characters of the longest names for two columns in a legend
_STYLE: dict[Any, Any] = {"font.size": 8, "axes.linewidth": 0.6, "svg.hashsalt": "recbole_tinynews"}
_QUALITY, _PARAMETERS = "auc", "parameters"


def size_figure(suite: Suite, systems: Sequence[SystemResult]) -> Figure | None:
    """One series per family of the suite's figure and added row, one point per size.

    Bars are standard deviations over seeds; points are labelled with their layers. None without
    results.
    """
    import matplotlib  # slow to import
    from matplotlib.figure import Figure

    families: dict[str, list[SystemResult]] = {name: [] for name in suite.figure}
    for system in systems:
        known = {_QUALITY, _PARAMETERS} <= system.means.keys()
        if known and (system.row.family in suite.figure or system.row.group == ADDED):
            families.setdefault(system.row.family, []).append(system)
    families = {name: members for name, members in families.items() if members}
    if not families:
        return None
    with matplotlib.rc_context(_STYLE):
        size = _COLUMN, 2.7 + 0.2 * len(families)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        for number, (family, members) in enumerate(families.items()):
            members.sort(key=lambda system: system.means[_PARAMETERS].value)
            sizes = [1e-6 * system.means[_PARAMETERS].value for system in members]
            quality = [system.means[_QUALITY] for system in members]
            # a line through single runs would show their noise as a trend
            joined = all(len(system.cells) > 1 for system in members)
            colour = COLOURS[number % len(COLOURS)]
            axes.errorbar(
                sizes,
                [100 * mean.value for mean in quality],
                yerr=[100 * (mean.deviation or 0.0) for mean in quality],
                label=family,
                color=colour,
                linestyle=DASHES[number % len(DASHES)] if joined else "none",
                marker=MARKERS[number % len(MARKERS)],
                markersize=4.5,
                linewidth=1.0,
                capsize=2,
            )
            for system, x, mean in zip(members, sizes, quality, strict=True):
                text = f"{x:.0f}M" if system.row.layers is None else str(system.row.layers)
                offset: Any = {"xytext": (3, 3), "textcoords": "offset points"}
                axes.annotate(text, (x, 100 * mean.value), **offset, fontsize=6, color=colour)
        note = "parameters (millions); at the points: layers\nbars: standard deviation over seeds"
        axes.set(xlabel=note, ylabel=f"{HEADS[_QUALITY]} (%)")
        axes.margins(0.1)
        axes.grid(color="#DDDDDD", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if len(families) > 1:
            columns = 2 if max(map(len, families)) <= _TWO_IN_A_ROW else 1
            figure.legend(loc="outside lower center", ncols=columns, frameon=False)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write ``path`` in all ``FORMATS``, with the same bytes for equal figures."""
    import matplotlib

    for kind in FORMATS:
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        with (
            matplotlib.rc_context(_STYLE),
            whole_file(path.with_name(f"{path.name}.{kind}")) as file,
        ):
            figure.savefig(file, format=kind, dpi=300, metadata=metadata)
