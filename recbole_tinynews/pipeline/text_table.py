"""Text tables for the log."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(rows: Sequence[Sequence[str]], right: bool = False) -> str:
    """Aligned columns, one line per row; all but the first are right-aligned if ``right``.

    >>> print(text_table([["", "auc"], ["student", "0.7"]], right=True))
             auc
    student  0.7
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        for cell, width in zip(others, widths[1:], strict=True):
            cells.append(cell.rjust(width) if right else cell.ljust(width))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
