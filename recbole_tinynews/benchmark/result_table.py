"""The tables of a suite, and how they are written as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from recbole_tinynews.benchmark.means import Mean, SystemResult
from recbole_tinynews.benchmark.results import COLD, COLD_COUNT, METRICS
from recbole_tinynews.benchmark.suite import TITLE, USER_IDS, Published

HEADS = {"auc": "AUC", "mrr": "MRR", "ndcg@5": "nDCG@5", "ndcg@10": "nDCG@10"}
_SIZE = {"parameters": ("Parameters", "M"), "news_per_second": ("News", "1/s")}
SPEED_HEADS = {
    "news_per_second": "News, 1/s",
    "news_per_second_batch_1": "one by one, 1/s",
    "impressions_per_second": "Impressions, 1/s",
    "impressions_per_second_cached": "cached, 1/s",
    "peak_memory_mb": "Peak memory, MB",
    "seconds": "Training, s",
}
MORE_TEXT, ELSEWHERE, KNOWS_USERS = "*", "†", "‡"


class Cell(NamedTuple):
    """Text of a cell, and whether it is the best of its column."""

    text: str
    best: bool = False


class Table(NamedTuple):
    """What every writer writes: a head, groups of lines, and notes under them.

    A line that was not run has one cell after its name.
    """

    head: Sequence[str]
    groups: Sequence[Sequence[Sequence[Cell]]]
    notes: Sequence[str]


def make_table(
    systems: Sequence[SystemResult],
    seeds: Sequence[int],
    published: Published,
    notes: Sequence[str] = (),
) -> Table:
    """Means over seeds in percent, in the order given, a group for each run of equal groups.

    Published figures, where there are any, are shown next to ours, in percent as printed.
    """
    printed = [*published.here.values(), *published.elsewhere.values()]
    beside = [metric for metric in METRICS if any(metric in each for each in printed)]
    sizes = [name for name in _SIZE if any(name in each.means for each in systems)]
    head = [
        "System",
        *HEADS.values(),
        *(f"{_SIZE[name][0]} ({_SIZE[name][1]})" for name in sizes),
        *(f"{HEADS[name]}, paper" for name in beside),
    ]
    best = {name: _best(systems, name) for name in METRICS}
    groups = []
    for _, members in groupby(systems, key=lambda each: each.row.group):
        lines = []
        for each in members:
            name = Cell(each.row.label + _mark(each))
            if not each.means:
                lines.append([name, Cell(f"not run: {each.why_not}")])
                continue
            cells = [percent(each.means.get(metric), best[metric]) for metric in METRICS]
            cells += [_size(each.means.get(size), size) for size in sizes]
            here = published.here.get(each.row.label)
            there = published.elsewhere.get(each.row.label, {})
            cells += [_printed((here or there).get(m), "" if here else ELSEWHERE) for m in beside]
            lines.append([name, *cells])
        groups.append(lines)
    of_others = [f"{ELSEWHERE} the paper's figures {published.elsewhere_is}."] if beside else []
    return Table(head, groups, [*_notes(systems, seeds), *of_others, *notes])


def as_markdown(table: Table) -> str:
    """A table of GitHub's Markdown; the best of a column is bold."""
    width = len(table.head)
    lines = [_line(table.head), _line(["---", *["---:"] * (width - 1)])]
    for number, group in enumerate(table.groups):
        if number:
            lines.append(_line([""] * width))
        for cells in group:
            texts = [f"**{c.text}**" if c.best else plain_markdown(c.text) for c in cells]
            lines.append(_line([*texts, *[""] * (width - len(texts))]))
    notes = [
        f"\n{note.replace('*', chr(92) + '*', 1) if note.startswith('*') else note}"
        for note in table.notes
    ]
    return "\n".join([*lines, *notes]) + "\n"


def speed_table(systems: Sequence[SystemResult]) -> Table:
    """How fast and how large each system is, and how long its stages took to train."""
    columns = [name for name in SPEED_HEADS if any(name in each.means for each in systems)]
    lines = []
    for each in systems:
        if each.means:
            values = [each.means.get(name) for name in columns]
            cells = [Cell(f"{mean.value:,.0f}" if mean else "") for mean in values]
            lines.append([Cell(each.row.label), *cells])
    note = (
        "Impressions are ranked from the text of their news, each encoded once, or from cached "
        "news vectors; users are encoded in both cases. Peak memory is that of a process that "
        "loads the data set and the model, encodes and ranks (on a GPU: of tensors). Training: all "
        "stages of the system, those too that it shares."
    )
    return Table(["System", *(SPEED_HEADS[name] for name in columns)], [lines], [note])


def cold_table(systems: Sequence[SystemResult]) -> Table:
    """The metrics again, of the impressions whose clicked news nobody had clicked in training."""
    known = [each for each in systems if any(name in each.means for name in COLD)]
    best = {name: _best(known, name) for name in COLD}
    lines = [
        [Cell(each.row.label), *(percent(each.means.get(name), best[name]) for name in COLD)]
        for each in known
    ]
    counts = sorted({each.means[COLD_COUNT].value for each in known if COLD_COUNT in each.means})
    note = (
        "Percent, of those test impressions alone whose clicked news were never clicked in "
        f"training impressions: {' or '.join(f'{count:,.0f}' for count in counts) or 'none'}."
    )
    without = [each.row.label for each in systems if each.means and each not in known]
    if without:
        note += f" Not known of {', '.join(without)}."
    return Table(["System, clicked news cold", *HEADS.values()], [lines], [note])


def plain_markdown(text: str) -> str:
    r"""A label as it is read: it becomes no column, emphasis, link or tag of HTML.

    >>> plain_markdown("a|b <img> *")
    'a\\|b &lt;img> \\*'
    """
    text = " ".join(text.split())
    return re.sub(r"[|*`\[]", r"\\\g<0>", text.replace("<", "&lt;"))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _best(systems: Sequence[SystemResult], metric: str) -> float | None:
    """The best value rounded as printed, so that values that look equal are equally bold."""
    values = [each.means[metric].value for each in systems if metric in each.means]
    return round(100 * max(values), 2) if len(values) > 1 else None


def percent(mean: Mean | None, best: float | None = None) -> Cell:
    """A mean and its deviation in percent; ``best`` is the best one, rounded as printed."""
    if mean is None:
        return Cell("")
    value = round(100 * mean.value, 2)
    spread = "" if mean.deviation is None else f" ± {100 * mean.deviation:.2f}"
    return Cell(f"{value:.2f}{spread}", value == best)


def _size(mean: Mean | None, name: str) -> Cell:
    if mean is None:
        return Cell("")
    return Cell(f"{mean.value / 1e6:.2f}" if name == "parameters" else f"{mean.value:,.0f}")


def _printed(figures: Sequence[float] | None, mark: str) -> Cell:
    if not figures:
        return Cell("")
    value, *deviation = figures
    return Cell(f"{value:.2f}{''.join(f' ± {each:.2f}' for each in deviation)}{mark}")


def _mark(system: SystemResult) -> str:
    reads = system.row.reads
    of_text = "" if {*reads} <= {*TITLE, USER_IDS} else MORE_TEXT
    return of_text + (KNOWS_USERS if USER_IDS in reads else "")


def _texts(reads: Sequence[str]) -> str:
    return " and ".join(each for each in reads if each != USER_IDS)


def _notes(systems: Sequence[SystemResult], seeds: Sequence[int]) -> list[str]:
    several = len(seeds) > 1
    listed = ", ".join(map(str, seeds))
    spread = ", mean ± standard deviation over seeds" if several else ", seed"
    notes = [f"Percent, per impression{spread} {listed}."]
    marks = {each.row.reads: _mark(each) for each in systems}
    texts = "; ".join(sorted({_texts(reads) for reads, mark in marks.items() if MORE_TEXT in mark}))
    if texts:
        notes.append(f"{MORE_TEXT} ranks by other text than the title alone: {texts}.")
    if any(KNOWS_USERS in mark for mark in marks.values()):
        notes.append(f"{KNOWS_USERS} has a vector for each user of the training data.")
    for each in systems:
        if each.means and len(each.seeds) < len(seeds):
            why = f": {each.why_not}" if each.why_not else ""
            ran = ", ".join(map(str, each.seeds))
            notes.append(f"{each.row.label}: seeds {ran} of {listed}{why}.")
    return notes
