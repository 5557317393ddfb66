"""The table of a suite as LaTeX: whole, and narrow enough for a column of a paper."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from recbole_tinynews.benchmark.result_table import Cell, Table

NARROW = ("AUC", "nDCG@10", "Parameters (M)")  # columns that fit beside the names
_SHORT = {"Parameters (M)": "Size (M)"}
_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}
_LATEX |= {"±": r"$\pm$", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "*": r"$^*$"}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}


def as_latex(table: Table) -> str:
    r"""A ``tabular`` with the rules of booktabs, for ``\input`` into a table of a paper."""
    width = len(table.head)
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        *_lines(table, _escaped),
        "\\end{tabular}",
    ]
    notes = [f"\\par\\smallskip{{\\footnotesize {_escaped(note)}}}" for note in table.notes]
    return "\n".join([*lines, *notes]) + "\n"


def as_narrow_latex(table: Table) -> str:
    r"""A ``tabularx`` as wide as a column: fewer metrics, small deviations, names that wrap."""
    places = [0, *(table.head.index(name) for name in NARROW if name in table.head)]
    head = [_SHORT.get(table.head[place], table.head[place]) for place in places]
    groups = [
        [
            # a reason why it was not run would not fit
            [cells[place] for place in places]
            if len(cells) == len(table.head)
            else [cells[0], Cell("not run")]
            for cells in group
        ]
        for group in table.groups
    ]
    columns = "@{}>{\\raggedright\\arraybackslash}X" + "r" * (len(head) - 1) + "@{}"
    lines = [
        "% needs \\usepackage{booktabs,tabularx}",
        "{\\footnotesize\\setlength{\\tabcolsep}{3pt}%",
        f"\\begin{{tabularx}}{{\\columnwidth}}{{{columns}}}",
        *_lines(Table(head, groups, []), _wrapping),
        "\\end{tabularx}\\par}",
    ]
    notes = [f"{{\\scriptsize\\raggedright {_wrapping(note)}\\par}}" for note in table.notes]
    return "\n".join([*lines, *notes]) + "\n"


def _lines(table: Table, written: Callable[[str], str]) -> list[str]:
    """The head and the groups between rules."""
    width = len(table.head)
    lines = ["\\toprule", " & ".join(map(_escaped, table.head)) + r" \\", "\\midrule"]
    for number, group in enumerate(table.groups):
        if number:
            lines.append("\\midrule")
        lines += [_line(cells, width, written) for cells in group]
    return [*lines, "\\bottomrule"]


def _line(cells: Sequence[Cell], width: int, written: Callable[[str], str]) -> str:
    texts = [f"\\textbf{{{written(c.text)}}}" if c.best else written(c.text) for c in cells]
    if len(texts) < width:
        texts[1:] = [f"\\multicolumn{{{width - 1}}}{{l}}{{{texts[1]}}}"]
    return " & ".join(texts) + r" \\"


def _escaped(text: str) -> str:
    text = " ".join(text.split())  # an empty line would end the paragraph
    return re.sub("|".join(map(re.escape, _LATEX)), lambda found: _LATEX[found[0]], text)


def _wrapping(text: str) -> str:
    """With a smaller deviation, and lines that may break at an underscore too."""
    small = re.sub(r" \$\\pm\$ (\d\S*)", r"{\\scriptsize$\\pm$\1}", _escaped(text))
    return small.replace(r"\_", r"\_\allowbreak{}")
