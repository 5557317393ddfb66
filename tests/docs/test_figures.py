"""Tables of results in the documents have the figures of the committed benchmarks."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from documents import ROOT

RESULTS = ROOT / "benchmarks" / "results"
RECORD = "benchmarks/record"
pytestmark = pytest.mark.skipif(
    not RESULTS.is_dir(), reason="results are committed, and lie in a checkout only"
)
README = f"{RECORD}/readme.md"
METRICS = ("AUC", "MRR", "nDCG@5", "nDCG@10")
# by page and by the beginning of a table's head: the benchmark that it is of, what is before the
# metrics in the names of its columns, and its rows with figures
TABLES = [
    ("README.md", "| EB-NeRD, percent", "ebnerd-reader", "", 7),
    (README, "| percent, mean of 3 seeds", "ebnerd ebnerd-time-by-list", "EB-NeRD ", 10),
    (README, "| percent, mean of 3 seeds", "mind-pooled mind-pooled-time-by-list", "MIND ", 10),
    (f"{RECORD}/results.md", "| EB-NeRD, percent", "ebnerd", "", 21),
    (f"{RECORD}/results.md", "| EB-NeRD with counters", "ebnerd-time-by-list", "", 19),
    (f"{RECORD}/results.md", "| pooled MIND with counters", "mind-pooled-time-by-list", "", 12),
    (f"{RECORD}/results.md", "| EB-NeRD with today", "ebnerd-time", "", 16),
    (f"{RECORD}/results.md", "| pooled MIND with today", "mind-pooled-time", "", 14),
    (f"{RECORD}/results.md", "| MIND, percent", "mind-pooled", "", 15),
    (f"{RECORD}/results.md", "| MIND in five folds", "mind-pooled-folds", "", 8),
    (f"{RECORD}/results.md", "| mind-mini, percent", "mind-mini-news", "", 21),
    (f"{RECORD}/results.md", "| mind-mini, suite paper", "mind-mini-paper", "", 20),
    (f"{RECORD}/results.md", "| MIND, suite news", "mind-pooled-news", "", 18),
    (f"{RECORD}/paper_systems.md", "| system |", "mind-sample", "", 35),
    (f"{RECORD}/results.md", "| EB-NeRD at equal budgets", "ebnerd-equal", "", 12),
    (f"{RECORD}/results.md", "| EB-NeRD at 820k tokens", "ebnerd-equal-820k", "", 13),
    (f"{RECORD}/results.md", "| EB-NeRD, parts of", "ebnerd-components", "", 10),
    (f"{RECORD}/results.md", "| English at 820k tokens", "mind-wide-minilm-equal-820k", "", 14),
    (f"{RECORD}/results.md", "| English, parts of", "mind-wide-minilm-components", "", 10),
    (f"{RECORD}/results.md", "| English, more clicks", "mind-wide-large-minilm-equal", "", 9),
    (f"{RECORD}/small.md", "| EB-NeRD, percent", "ebnerd-sizes", "", 10),
    (f"{RECORD}/small.md", "| pooled MIND, percent", "mind-pooled-sizes", "", 10),
    ("docs/results.md", "| EB-NeRD with counters", "ebnerd-time", "", 7),
    ("docs/results.md", "| EB-NeRD and its readers", "ebnerd-reader", "", 11),
    ("docs/tutorials/read_a_benchmark.md", "| from `table.md`", "mind-pooled", "", 6),
]
# rows that a separate script measured
SEPARATE = ("no text: clicks", "logit of ")


def table(page: str, head: str) -> list[dict[str, str]]:
    """The rows of the first table whose head begins so, by the names of its columns."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    lines = [re.sub(" +", " ", line) for line in lines]
    first = next(number for number, line in enumerate(lines) if line.startswith(head))
    names = _cells(lines[first])
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(names, _cells(line), strict=True)))
    return rows


def _cells(line: str) -> list[str]:
    return [_plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _plain(cell: str) -> str:
    return re.sub(r"\*\*|`|¶|\\\*", "", cell.strip()).strip().removesuffix(" ± 0.00")


def measured(folder: str) -> dict[str, dict[str, str]]:
    """The rows of committed tables by the names of their systems; the first folder's count."""
    folders = reversed(folder.split())
    tables = [table(f"benchmarks/results/{one}/table.md", "| System |") for one in folders]
    return {row["System"]: row for rows in tables for row in rows if row["System"]}


def system_of(cell: str, systems: list[str]) -> str:
    """The longest name in the cell, which may say more about it."""
    return max((name for name in systems if name in cell), key=len, default="")


@pytest.mark.parametrize(("page", "head", "folder", "before", "count"), TABLES)
def test_a_table_has_the_figures_that_were_measured(
    page: str, head: str, folder: str, before: str, count: int
) -> None:
    """Tables are copied by hand, and a benchmark that is run again changes its own alone."""
    systems = measured(folder)
    compared = 0
    for row in table(page, head):
        if next(iter(row.values())).startswith(SEPARATE):
            continue
        name = system_of(next(iter(row.values())), [*systems])
        figures = {metric: row[before + metric] for metric in METRICS if row.get(before + metric)}
        assert name or not figures, row
        assert figures == {metric: systems[name][metric] for metric in figures}, name
        compared += bool(figures)
    assert compared == count


def test_text_in_recboles_models_has_the_figures_that_were_measured() -> None:
    """Its table has the models in rows, and what they know in columns."""
    tables = measured("ebnerd-toolkit-text"), measured("mind-pooled-toolkit-text")
    page = (ROOT / "docs" / "item_text.md").read_text(encoding="utf-8")
    rows = [_cells(line) for line in page.splitlines() if re.match(r"\| [A-Z]", line)]
    assert len(rows) == 6
    for model, *said in rows:
        names = [f"{model} ({how})" for how in ("ids", "text", "text and ids")]
        assert said == [made[name]["AUC"].partition(" ")[0] for made in tables for name in names]


@pytest.mark.parametrize(
    ("name", "folder", "count"),
    [("mind-mini", "mind-mini-sizes", 9), ("EB-NeRD", "ebnerd-sizes", 6)],
)
def test_several_sizes_have_the_figures_of_kept_values(
    name: str,
    folder: str,
    count: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are of no suite, whose tables the test above reads."""
    script, values = ROOT / "benchmarks" / "loaded_sizes.py", RESULTS / folder / "several_sizes.npz"
    monkeypatch.setattr(sys, "argv", [str(script), f"--values={values}"])
    runpy.run_path(str(script), run_name="__main__")
    shown = tmp_path / "shown.md"
    shown.write_text(capsys.readouterr().out)
    kept = {(row["layers"], row["entries"]): row for row in table(str(shown), "| layers |")}
    said = table(f"{RECORD}/small.md", f"| layers, {name} |")
    assert len(said) == count
    for row in said:
        layers = row.pop(f"layers, {name}")
        assert row.items() <= kept[layers, row["entries"]].items()


def test_a_figure_of_the_results_stands_in_the_record() -> None:
    """The page is a summary, and what it says beyond the record nobody could check."""
    decimals = re.compile(r"\d[\d,]*\.\d+")
    record = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / RECORD).glob("*.md"))
    said = decimals.findall((ROOT / "docs" / "results.md").read_text(encoding="utf-8"))
    assert len(said) > 80
    assert {*said} - {*decimals.findall(record)} == set()
