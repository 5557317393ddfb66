from __future__ import annotations

import csv
from pathlib import Path

import pytest
from benchmark_rows import squeeze, system

from recbole_tinynews.benchmark.result_table import (
    Cell,
    Table,
    as_markdown,
    budget_table,
    cold_table,
    make_table,
)
from recbole_tinynews.benchmark.results import (
    COLUMNS,
    METRICS,
    OWN_BUDGET,
    TEACHERS_BUDGET,
    ResultsFile,
    summarise,
)
from recbole_tinynews.benchmark.suite import Row

RESULTS = """\
Small,1,0.6,0.3,0.35,0.4,1500000,200.0
Small,2,0.62,0.31,0.35,0.42,1500000,220.0
Large_2,1,0.605,0.32,0.35,0.39,12000000,50.0
Large_2,2,0.615,0.32,0.35,0.41,12000000,50.0
Popular,1,0.5,0.2,0.25,0.3,,
"""
TABLE = """\
| System | AUC | MRR | nDCG@5 | nDCG@10 | Parameters (M) | News (1/s) |
|:---|---:|---:|---:|---:|---:|---:|
| Small | **61.00 ± 1.41** | 30.50 ± 0.71 | **35.00 ± 0.00** | **41.00 ± 1.41** | 1.50 | 210 |
| Large_2\\* | **61.00 ± 0.71** | **32.00 ± 0.00** | **35.00 ± 0.00** | 40.00 ± 1.41 | 12.00 | 50 |
| | | | | | | |
| Popular | 50.00 | 20.00 | 25.00 | 30.00 | | |
| Absent | not run: no such model (Absent) | | | | | |

Percent, per impression, mean ± standard deviation over seeds 1, 2.

\\* ranks by other text than the title alone: title and abstract.

Popular: seeds 1 of 1, 2: out of memory.

a note
"""


@pytest.fixture
def table(tmp_path: Path):
    """The table that is made from a csv written by hand."""
    path = tmp_path / "results.csv"
    lines = [line + "," * (len(COLUMNS) - 8) for line in RESULTS.splitlines()]
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n", encoding="utf-8")
    results = ResultsFile(path).rows

    def of(row: Row, why_not: str = ""):
        seeds = {seed: cells for (label, seed, _), cells in results.items() if label == row.label}
        return summarise(row, seeds, why_not=why_not)

    systems = [
        of(Row("Small", "Small", "PLMNR", group="one")),
        of(Row("Large_2", "Large", "PLMNR", group="one", reads=("title", "abstract"))),
        of(Row("Popular", "Popular", "Pop", group="two"), "out of memory"),
        of(Row("Absent", "Absent", "Absent", group="two"), "no such model (Absent)"),
    ]
    return make_table(systems, [1, 2], ["a note"])


def test_the_markdown_is_that_of_the_results(table) -> None:
    """Deviations of a sample, by hand: sqrt(((60 - 61)^2 + (62 - 61)^2) / 1) = 1.41."""
    assert squeeze(as_markdown(table)) == TABLE


def test_systems_that_know_their_users_are_marked_beside_those_that_read_more() -> None:
    """On equal text, a vector for each user is still an advantage that others do not have."""
    reads = [("title",), ("title", "ids of users"), ("title", "category", "ids of users")]
    systems = [
        summarise(Row(label, label, "PLMNR", reads=each), {})
        for label, each in zip(("Plain", "NPA", "LSTUR"), reads, strict=True)
    ]
    table = make_table(systems, [1])
    assert [cells[0].text for group in table.groups for cells in group] == [
        *("Plain", "NPA‡", "LSTUR*‡"),
    ]
    assert table.notes[1:] == [
        "* ranks by other text than the title alone: title and category.",
        "‡ has a vector for each user of the training data.",
    ]


def test_values_that_print_alike_are_equally_bold() -> None:
    """0.611111 beside 0.611112 would be bold for no reason that a reader can see."""
    one, two = system("A", {"auc": 0.611111}), system("B", {"auc": 0.611112})
    text = as_markdown(make_table([one, two], [1]))
    assert text.count("**61.11**") == 2


def test_every_cell_of_the_csv_comes_back(tmp_path: Path) -> None:
    """Rounding, or an empty cell that turns into 0, would change a mean silently."""
    results = ResultsFile(tmp_path / "results.csv")
    results.put({"system": "A, b", "seed": 1, "auc": 1 / 3, "mrr": None, "settings": "x"})
    results.put({"system": "A, b", "seed": 1, "parameters": 12, "settings": "x"})
    results.put({"system": "B", "seed": 2, "auc": float("nan"), "settings": "y"})
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert COLUMNS[:8] == (
        *("system", "seed", "auc", "mrr", "ndcg@5", "ndcg@10", "parameters", "news_per_second"),
    )
    assert [(row["system"], row["auc"], row["mrr"], row["parameters"]) for row in rows] == [
        ("A, b", "0.333333", "", "12"),
        ("B", "nan", "", ""),
    ]
    again = ResultsFile(tmp_path / "results.csv")
    assert again.of("A, b", 1, "x") == rows[0]
    assert again.of("A, b", 1, "other") is None
    assert summarise(Row("B", "B", "B"), {2: rows[1]}).means == {}


def test_a_row_of_other_settings_is_kept_and_lends_no_cell(tmp_path: Path) -> None:
    """A speed measured with other settings must not appear beside a new AUC, nor be lost."""
    results = ResultsFile(tmp_path / "results.csv")
    results.put({"system": "A", "seed": 1, "auc": 0.5, "news_per_second": 9.0, "settings": "x"})
    results.put({"system": "A", "seed": 1, "auc": 0.6, "settings": "y"})
    again = ResultsFile(tmp_path / "results.csv")
    assert again.of("A", 1, "y")["news_per_second"] == ""
    assert again.of("A", 1, "x")["news_per_second"] == "9.0"


def test_two_benchmarks_that_write_into_one_file_lose_no_row(tmp_path: Path) -> None:
    """The second would write what it read at its start, and delete the first's results."""
    first, second = (ResultsFile(tmp_path / "results.csv") for _ in range(2))
    first.put({"system": "A", "seed": 1, "settings": "x"})
    second.put({"system": "B", "seed": 1, "settings": "x"})
    first.put({"system": "C", "seed": 1, "settings": "x"})
    there = ResultsFile(tmp_path / "results.csv").rows
    assert [system for system, *_ in there] == ["A", "B", "C"]


def test_a_file_of_an_earlier_version_is_read_and_gets_the_columns_of_today(tmp_path: Path) -> None:
    """Hours of committed results would be refused for a column that came or went later."""
    path = tmp_path / "results.csv"
    newer = {"environment", *OWN_BUDGET, *TEACHERS_BUDGET}
    before = [name for name in COLUMNS if name not in newer] + ["impressions_per_second"]
    cells = ["A", "1", "0.5", *[""] * (len(before) - 5), "x", "7.0"]
    path.write_text(f"{','.join(before)}\n{','.join(cells)}\n", encoding="utf-8")
    row = ResultsFile(path).of("A", 1, "x")
    assert row is not None
    assert (row["auc"], row["environment"]) == ("0.5", "")
    ResultsFile(path).put({"system": "B", "seed": 1, "settings": "y", "environment": "torch 9"})
    assert [each["environment"] for each in ResultsFile(path).rows.values()] == ["", "torch 9"]


def test_a_file_with_other_columns_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("system,auc\nA,0.5\n")
    with pytest.raises(ValueError, match="Move it away"):
        ResultsFile(tmp_path / "results.csv")


def test_cold_impressions_have_a_separate_table() -> None:
    """A system that learns popularity alone looks strong on articles that it has seen."""
    cells = {
        f"cold_{name}": value for name, value in zip(METRICS, (0.5, 0.2, 0.25, 0.3), strict=True)
    }
    cells["cold_impressions"] = 1519
    better = {**cells, "cold_auc": 0.61}
    systems = [
        system("A", cells, {**cells, "cold_auc": 0.52}),
        system("B", better),
        system("C", {"auc": 0.5}),
    ]
    assert squeeze(as_markdown(cold_table(systems))).splitlines()[2:4] == [
        "| A | 51.00 ± 1.41 | **20.00 ± 0.00** | **25.00 ± 0.00** | **30.00 ± 0.00** |",
        "| B | **61.00** | **20.00** | **25.00** | **30.00** |",
    ]
    assert "| C |" not in as_markdown(cold_table(systems))
    assert as_markdown(cold_table(systems)).endswith(
        "training impressions: 1,519. Not known of C.\n"
    )


BUDGET = dict.fromkeys((*OWN_BUDGET, *TEACHERS_BUDGET), 0) | {"tokens": 820_123, "flops": 1.74e13}
CEILINGS = {"student": {"tokens": 215_000}, "teachers": {"clicks_x_candidates": 1000}}


def test_budgets_have_a_table_and_rows_over_a_ceiling_are_marked_everywhere() -> None:
    """A system that read four times as much text would look better for how it was trained."""
    within = {**BUDGET, "tokens": 215_000, "teachers_clicks_x_candidates": 1000}
    systems = [
        system("A", {"auc": 0.5, **BUDGET}),
        system("B", {"auc": 0.5, **within}),
        system("C", {"auc": 0.5, **within, "teachers_clicks_x_candidates": 1001}),
        system("Old", {"auc": 0.5}),
    ]
    text = squeeze(as_markdown(budget_table(systems, CEILINGS)))
    assert text.splitlines()[2] == "| A§ | 0 | 820,123 | 0 | 17.4 | 0 | 0 | 0 | 0 |"
    assert "Not counted: Old." in text
    ceiling = "(student: 215,000 tokens; teachers: 1,000 candidates of clicks)"
    table = make_table(systems, [1], ceilings=CEILINGS)
    assert [cells[0].text for group in table.groups for cells in group] == ["A§", "B", "C§", "Old"]
    assert table.notes[-1] == f"§ used more than the suite's ceiling {ceiling}."
    unlimited = make_table(systems, [1])
    assert not any("§" in cells[0].text for group in unlimited.groups for cells in group)


def test_a_label_makes_no_columns_tags_or_links_in_markdown() -> None:
    """GitHub would show an image of somebody else, or a broken table."""
    label = "a|b\n| c | <img src=x> [d](http://e) *f* `g`"
    table = as_markdown(Table(["System", "AUC"], [[[Cell(label), Cell("0.5")]]], []))
    (line,) = [each for each in table.splitlines() if "img" in each]
    assert line.replace("\\|", "").count("|") == 3
    assert "<img" not in line
    assert "\\[d](" in line
    assert "\\*f\\*" in line
