"""Labels come from files and command lines of others: in a table they are text alone."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from benchmark_rows import squeeze

from recbole_tinynews.benchmark.recommender_file import model_class_of
from recbole_tinynews.benchmark.result_table import Cell, Table, as_latex, as_markdown
from recbole_tinynews.benchmark.results import COLUMNS, ResultsFile, as_csv

FORMULAS = ["=HYPERLINK(1)", "+1+1", "@SUM(A1)", "-2+3", "\t=1"]


@pytest.mark.parametrize("label", FORMULAS)
def test_no_label_is_a_formula_to_a_spreadsheet(tmp_path: Path, label: str) -> None:
    """A cell that begins so is computed when the table is opened; it is read back as given."""
    file = ResultsFile(tmp_path / "results.csv")
    file.put({"system": label, "seed": 1, "settings": "s", "auc": -0.5})
    (row,) = csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text()))
    assert row["system"] == f"'{label}"
    assert row["auc"] == "-0.5"  # a number stays one
    assert ResultsFile(tmp_path / "results.csv").of(label, 1, "s") is not None
    assert set(COLUMNS) >= {"system", "auc"}


def test_a_number_is_no_formula() -> None:
    assert as_csv(["a"], [{"a": "-1e-05"}, {"a": -2}]) == "a\n-1e-05\n-2\n"


def test_a_label_makes_no_columns_tags_or_links_in_markdown() -> None:
    """GitHub would show an image of somebody else, or a broken table."""
    label = "a|b\n| c | <img src=x> [d](http://e) *f* `g`"
    table = as_markdown(Table(["System", "AUC"], [[[Cell(label), Cell("0.5")]]], []))
    (line,) = [each for each in table.splitlines() if "img" in each]
    assert line.replace("\\|", "").count("|") == 3
    assert "<img" not in line
    assert "\\[d](" in line
    assert "\\*f\\*" in line


def test_a_label_is_no_command_and_no_paragraph_in_latex() -> None:
    r"""``\input`` of a label would read any file of whoever compiles the table."""
    table = as_latex(Table(["System", "AUC"], [[[Cell("\\input{x}\n\n%&$#_^~"), Cell("1")]]], []))
    (line,) = [each for each in squeeze(table).splitlines() if "textbackslash" in each]
    assert line == (
        r"\textbackslash{}input\{x\} \%\&\$\#\_\textasciicircum{}\textasciitilde{} & 1 \\"
    )


def test_a_file_that_exits_is_a_failure_of_its_own(tmp_path: Path) -> None:
    """A script without a main guard ended the whole benchmark, with exit status 0."""
    (tmp_path / "leaves_at_once.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(ValueError, match=r"leaves_at_once\.py can't be imported: SystemExit"):
        model_class_of(f"+{tmp_path / 'leaves_at_once.py'}:Mine")
