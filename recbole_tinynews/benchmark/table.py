"""A table of a report, and its Markdown and LaTeX forms."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tabulate import SEPARATING_LINE, DataRow, Line, TableFormat, tabulate

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
