"""Tables in LaTeX: what is written, and that pdflatex sets it without an overfull line."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from benchmark_rows import squeeze

from recbole_tinynews.benchmark.table import Cell, Table, as_latex, as_narrow_latex

NAMES = (
    *("PLM-NR_12 (FT)", "Tiny-NewsRec_4 w/o distillation loss", "ZeroShotPLM_12 not centred"),
    *(
        "AlignedNewsRec_4 (title teachers)",
        "a_recommender_named_by_many_words_and_underscores",
    ),
    "\\input{x} 100% & #1 $x$ ~^",
)


def table() -> Table:
    values = ("57.68 ± 0.17", "37.06 ± 0.09", "41.11 ± 0.07", "48.49 ± 0.13", "117.96", "12,345")
    lines = [
        [Cell(name), *(Cell(value, number == 0) for value in values)]
        for number, name in enumerate(NAMES)
    ]
    reason = "not run: no such model, which is a long reason that fits into no column of a paper"
    head = ["System", "AUC", "MRR", "nDCG@5", "nDCG@10", "Parameters (M)", "News (1/s)"]
    notes = [
        "Percent, per impression, mean ± standard deviation over seeds 2020, 2021, 2022.",
        "Speed: median of 3 runs after one for warm-up, cpu, threads: 2, precision float32.",
    ]
    return Table(head, [lines[:2], [*lines[2:], [Cell("Absent"), Cell(reason)]]], notes)


def test_the_narrow_table_has_the_columns_that_fit_and_small_deviations() -> None:
    """Seven columns of four-digit percents are twice as wide as a column of a paper."""
    lines = squeeze(as_narrow_latex(table())).splitlines()
    assert "System & AUC & nDCG@10 & Size (M) \\\\" in lines
    assert (
        "\\textbf{57.68{\\scriptsize$\\pm$0.17}} & \\textbf{48.49{\\scriptsize$\\pm$0.13}} & "
        "\\textbf{117.96} \\\\"
    ) in lines[6]
    assert "Absent & \\multicolumn{3}{l}{not run} \\\\" in lines
    assert "mean $\\pm$ standard deviation" in lines[-2]
    assert lines.count("\\midrule") == 2


def test_a_table_without_sizes_is_narrow_too() -> None:
    small = Table(["System", "AUC"], [[[Cell("A"), Cell("50.00")]]], [])
    assert "System & AUC \\\\" in squeeze(as_narrow_latex(small))


@pytest.mark.whole
@pytest.mark.parametrize(
    ("write", "layout", "packages"),
    [
        (as_narrow_latex, "twocolumn", "booktabs,tabularx"),
        (as_latex, "landscape", "booktabs"),
    ],
)
def test_pdflatex_sets_it_into_its_column(
    tmp_path: Path, write, layout: str, packages: str
) -> None:
    """An error, or a line that sticks out into the next column, is found by nobody but a reader."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed (on Debian: texlive-latex-recommended)")
    (tmp_path / "table.tex").write_text(write(table()), encoding="utf-8")
    (tmp_path / "paper.tex").write_text(
        f"\\documentclass[{layout}]{{article}}\n\\usepackage{{{packages}}}\n"
        "\\setlength{\\columnsep}{10pt}\n\\begin{document}\n\\noindent\\input{table}\n"
        "\\typeout{COLUMN \\the\\columnwidth}\n\\end{document}\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").is_file()
    if layout == "twocolumn":
        column = re.search(r"COLUMN ([\d.]+)pt", done.stdout)
        assert column is not None
        assert float(column[1]) < 240  # points: a column of the usual conferences
        assert re.findall(r"Overfull \\hbox.*", done.stdout) == []
