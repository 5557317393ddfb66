"""The tables of a suite: results, speed, budgets, cold articles; Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from tabulate import SEPARATING_LINE, DataRow, Line, TableFormat, tabulate

from recbole_tinynews.benchmark.results import (
    COLD,
    COLD_COUNT,
    METRICS,
    OWN_BUDGET,
    TEACHERS_BUDGET,
    Mean,
    SystemResult,
)
from recbole_tinynews.benchmark.suite import CLICKS_NOW, TITLE, USER_IDS, Published

Ceilings = Mapping[str, Mapping[str, int]]
HEADS = {"auc": "AUC", "mrr": "MRR", "ndcg@5": "nDCG@5", "ndcg@10": "nDCG@10"}
_SIZE = {"parameters": "Parameters (M)", "news_per_second": "News (1/s)"}
SPEED_HEADS = {
    "news_per_second": "News, 1/s",
    "news_per_second_batch_1": "one by one, 1/s",
    "impressions_per_second": "Impressions, 1/s",
    "impressions_per_second_cached": "cached, 1/s",
    "peak_memory_mb": "Peak memory, MB",
    "seconds": "Training, s",
}
MORE_TEXT, ELSEWHERE, KNOWS_USERS, OVER, NOW = "*", "†", "‡", "§", "¶"
_BUDGETS = {
    "articles": "articles",
    "tokens": "tokens",
    "clicks_x_candidates": "candidates of clicks",
    "flops": "TFLOP",
}
_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}
_LATEX |= {"§": r"$^\S$", "±": r"$\pm$", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "*": r"$^*$"}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
_TOP, _MIDDLE, _BOTTOM = (Line(rf"\{name}rule", "", "", "") for name in ("top", "mid", "bottom"))
_ROW = DataRow("", " & ", r" \\")
# tabulate's own latex_booktabs escapes every cell; these hold commands
_BOOKTABS = TableFormat(_TOP, _MIDDLE, None, _BOTTOM, _ROW, _ROW, 0, None)


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
    published: Published,
    notes: Sequence[str] = (),
    ceilings: Ceilings | None = None,
) -> Table:
    """Means over seeds in percent, with published results; rows of a group are adjacent."""
    printed = [*published.here.values(), *published.elsewhere.values()]
    beside = [metric for metric in METRICS if any(metric in each for each in printed)]
    sizes = [name for name in _SIZE if any(name in each.means for each in systems)]
    best = {name: _best(systems, name) for name in METRICS}

    def cells(each: SystemResult) -> list[Cell]:
        name = Cell(each.row.label + _mark(each) + (OVER if over(each, ceilings) else ""))
        if not each.means:
            return [name, Cell(f"not run: {each.why_not}")]
        here = published.here.get(each.row.label)
        there = published.elsewhere.get(each.row.label, {})
        mark = "" if here else ELSEWHERE
        return [
            name,
            *(with_deviation(each.means.get(metric), best[metric]) for metric in METRICS),
            *(_amount(each.means.get(size), size) for size in sizes),
            *(_printed((here or there).get(metric), mark) for metric in beside),
        ]

    head = ["System", *HEADS.values(), *(_SIZE[name] for name in sizes)]
    head += [f"{HEADS[name]}, paper" for name in beside]
    groups = [
        [cells(each) for each in members]
        for _, members in groupby(systems, key=lambda each: each.row.group)
    ]
    of_others = [f"{ELSEWHERE} the paper's figures {published.elsewhere_is}."] if beside else []
    own = [*_notes(systems, seeds), *_note_of_ceilings(systems, ceilings), *of_others, *notes]
    return Table(head, groups, own)


def speed_table(systems: Sequence[SystemResult]) -> Table:
    """Speed, memory and training time of each system."""
    columns = [name for name in SPEED_HEADS if any(name in each.means for each in systems)]
    rows = [
        [Cell(each.row.label), *(_amount(each.means.get(name), name) for name in columns)]
        for each in systems
        if each.means
    ]
    note = (
        "Impressions are ranked from the text of their news, each encoded once, or from cached "
        "news vectors; users are encoded in both cases. Peak memory is that of a process that "
        "loads the data set and the model, encodes and ranks (on a GPU: of tensors). Training: all "
        "stages of the system, those too that it shares."
    )
    return Table(["System", *(SPEED_HEADS[name] for name in columns)], [rows], [note])


def cold_table(systems: Sequence[SystemResult]) -> Table:
    """Metrics of the impressions whose clicked articles were never clicked in training."""
    known = [each for each in systems if any(name in each.means for name in COLD)]
    best = {name: _best(known, name) for name in COLD}
    rows = [
        [Cell(each.row.label), *(with_deviation(each.means.get(name), best[name]) for name in COLD)]
        for each in known
    ]
    counts = sorted({each.means[COLD_COUNT].value for each in known if COLD_COUNT in each.means})
    note = (
        "Percent, of those test impressions alone whose clicked news were never clicked in "
        f"training impressions: {' or '.join(f'{count:,.0f}' for count in counts) or 'none'}."
    )
    if without := [each.row.label for each in systems if each.means and each not in known]:
        note += f" Not known of {', '.join(without)}."
    return Table(["System, clicked news cold", *HEADS.values()], [rows], [note])


def budget_table(systems: Sequence[SystemResult], ceilings: Ceilings | None = None) -> Table:
    """Text, clicks and FLOPs measured in a system's own training and in that of its teachers."""
    known = [each for each in systems if any(name in each.means for name in OWN_BUDGET)]
    rows = [
        [
            Cell(each.row.label + (OVER if over(each, ceilings) else "")),
            *(_amount(each.means.get(name), name) for name in (*OWN_BUDGET, *TEACHERS_BUDGET)),
        ]
        for each in known
    ]
    heads = [f"{name}, {whose}" for whose in ("own", "teachers") for name in _BUDGETS.values()]
    notes = [
        "Articles and tokens read in stages without clicks; candidates of all clicks trained on; "
        "FLOP of the layers that train, forward and backward (docs/benchmark.md, Budgets). Own: "
        "the stages of the system's own weights; teachers: all other stages that precede it."
    ]
    notes += _note_of_ceilings(known, ceilings)
    if without := [each.row.label for each in systems if each.means and each not in known]:
        notes.append(f"Not counted: {', '.join(without)}.")
    return Table(["System", *heads], [rows], notes)


def over(system: SystemResult, ceilings: Ceilings | None) -> bool:
    """Whether a system or its teachers exceeded a ceiling of the suite."""
    means, limits = system.means, ceilings or {}
    return any(
        f"{prefix}{name}" in means and means[f"{prefix}{name}"].value > limit
        for kind, prefix in (("student", ""), ("teachers", "teachers_"))
        for name, limit in limits.get(kind, {}).items()
    )


def _note_of_ceilings(systems: Sequence[SystemResult], ceilings: Ceilings | None) -> Iterator[str]:
    if not any(over(each, ceilings) for each in systems):
        return
    listed = "; ".join(
        f"{kind}: " + ", ".join(f"{value:,} {_BUDGETS[name]}" for name, value in limits.items())
        for kind, limits in (ceilings or {}).items()
    )
    yield f"{OVER} used more than the suite's ceiling ({listed})."


def _amount(mean: Mean | None, name: str) -> Cell:
    if mean is None:
        return Cell("")
    if name == "parameters":
        return Cell(f"{mean.value / 1e6:.2f}")
    return Cell(f"{mean.value / 1e12:,.3g}" if name.endswith("flops") else f"{mean.value:,.0f}")


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
            "else of the benchmark running beside it. More of it: speed.md."
        )


def with_deviation(
    mean: Mean | None, best: float | None = None, factor: int = 100, places: int = 2
) -> Cell:
    """A mean and its deviation, times ``factor``; ``best``: the column's best, as printed."""
    if mean is None:
        return Cell("")
    value = round(factor * mean.value, places)
    spread = "" if mean.deviation is None else f" ± {factor * mean.deviation:.{places}f}"
    return Cell(f"{value:.{places}f}{spread}", value == best)


def _best(systems: Sequence[SystemResult], metric: str) -> float | None:
    """The best value, rounded as printed: values that look equal are equally bold."""
    values = [each.means[metric].value for each in systems if metric in each.means]
    return round(100 * max(values), 2) if len(values) > 1 else None


def _printed(figures: Sequence[float] | None, mark: str) -> Cell:
    return Cell(" ± ".join(f"{each:.2f}" for each in figures) + mark if figures else "")


def _inputs(system: SystemResult) -> tuple[list[str], list[str]]:
    """Texts that a system ranks by, and counters of clicks."""
    reads = [name for name in system.row.reads if name != USER_IDS]
    counters = [name for name in reads if name.startswith(CLICKS_NOW)]
    return [name for name in reads if name not in counters], counters


def _mark(system: SystemResult) -> str:
    texts, counters = _inputs(system)
    of_text = "" if {*texts} <= {*TITLE} else MORE_TEXT
    of_users = KNOWS_USERS if USER_IDS in system.row.reads else ""
    return of_text + of_users + (NOW if counters else "")


def _notes(systems: Sequence[SystemResult], seeds: Sequence[int]) -> Iterator[str]:
    listed = ", ".join(map(str, seeds))
    spread = ", mean ± standard deviation over seeds" if len(seeds) > 1 else ", seed"
    yield f"Percent, per impression{spread} {listed}."
    inputs = [_inputs(each) for each in systems]
    if texts := {" and ".join(read) for read, _ in inputs if not {*read} <= {*TITLE}}:
        listed_texts = "; ".join(sorted(texts))
        yield f"{MORE_TEXT} ranks by other text than the title alone: {listed_texts}."
    if any(USER_IDS in each.row.reads for each in systems):
        yield f"{KNOWS_USERS} has a vector for each user of the training data."
    if counters := {name for _, counted in inputs for name in counted}:
        listed_counters = "; ".join(sorted(counters))
        yield f"{NOW} ranks by what is read now in this sample of users: {listed_counters}."
    for each in systems:
        if each.means and len(each.cells) < len(seeds):
            why = f": {each.why_not}" if each.why_not else ""
            ran = ", ".join(map(str, sorted(each.cells)))
            yield f"{each.row.label}: seeds {ran} of {listed}{why}."


def as_markdown(table: Table) -> str:
    """GitHub Markdown; the best of a column is bold, an empty row separates groups."""
    width = len(table.head)

    def write(cells: Sequence[Cell]) -> list[str]:
        return [f"**{cell.text}**" if cell.best else plain_markdown(cell.text) for cell in cells]

    rows = _rows(table, write, separator=[""] * width)
    aligned = ["left", *["right"] * (width - 1)] if rows else None
    text = tabulate(rows, table.head, "pipe", colalign=aligned, disable_numparse=True)
    return "\n\n".join([text, *(re.sub(r"^\*", r"\\*", note) for note in table.notes)]) + "\n"


def as_latex(table: Table) -> str:
    r"""A ``tabular`` with booktabs rules, for ``\input`` into a paper."""
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}",
        _latex_rows(table),
        r"\end{tabular}",
        *(rf"\par\smallskip{{\footnotesize {_escaped(note)}}}" for note in table.notes),
    ]
    return "\n".join(lines) + "\n"


def plain_markdown(text: str) -> str:
    r"""Escape text that would become a column, emphasis, link or HTML tag.

    >>> plain_markdown("a|b <img> *")
    'a\\|b &lt;img> \\*'
    """
    text = " ".join(text.split())
    return re.sub(r"[|*`]|\[(?![+-])", r"\\\g<0>", text.replace("<", "&lt;"))  # not [-1, +1]


def _rows(
    table: Table, write: Callable[[Sequence[Cell]], list[str]], separator: object
) -> list[object]:
    rows: list[object] = []
    for group in table.groups:
        rows += [separator] * bool(rows) + [write(cells) for cells in group]
    return rows


def _latex_rows(table: Table) -> str:
    width = len(table.head)

    def write(cells: Sequence[Cell]) -> list[str]:
        texts = [rf"\textbf{{{_escaped(c.text)}}}" if c.best else _escaped(c.text) for c in cells]
        if len(texts) < width:
            texts[1:] = [rf"\multicolumn{{{width - 1}}}{{l}}{{{texts[1]}}}"]
        return texts

    rows = _rows(table, write, SEPARATING_LINE)
    text = tabulate(rows, [*map(_escaped, table.head)], _BOOKTABS, disable_numparse=True)
    return re.sub(r"(\\multicolumn.*?)(?: +&)* +\\\\$", r"\1 \\\\", text, flags=re.M)  # unpad


def _escaped(text: str) -> str:
    text = " ".join(text.split())  # an empty line would end the paragraph
    return re.sub("|".join(map(re.escape, _LATEX)), lambda found: _LATEX[found[0]], text)
