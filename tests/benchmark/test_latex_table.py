"""Tables in LaTeX, set by pdflatex."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from recbole_tinynews.benchmark.result_table import Cell, Table, as_latex

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


@pytest.mark.whole
def test_pdflatex_sets_a_table_with_any_label(tmp_path: Path) -> None:
    """A label that is a command to LaTeX would end the reader's own paper with an error."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed (on Debian: texlive-latex-recommended)")
    (tmp_path / "table.tex").write_text(as_latex(table()), encoding="utf-8")
    (tmp_path / "paper.tex").write_text(
        "\\documentclass[landscape]{article}\n\\usepackage{booktabs}\n"
        "\\begin{document}\n\\noindent\\input{table}\n\\end{document}\n",
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
