"""Tables of results in the documents have the figures of the committed benchmarks."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import ROOT, unwrapped

RESULTS = ROOT / "benchmarks" / "results"
RECORD = "benchmarks/record"
pytestmark = pytest.mark.skipif(
    not RESULTS.is_dir(), reason="results are committed, and lie in a checkout only"
)
METRICS = ("AUC", "MRR", "nDCG@5", "nDCG@10")
# by page and by the beginning of a table's head: the benchmark that it is of, what is before the
# metrics in the names of its columns, and its rows with figures
TABLES = [
    ("README.md", "| EB-NeRD, percent", "ebnerd-reader", "", 7),
    (f"{RECORD}/readme.md", "| percent, mean of 3 seeds", "ebnerd ebnerd-time", "EB-NeRD ", 10),
    (
        f"{RECORD}/readme.md",
        "| percent, mean of 3 seeds",
        "mind-pooled mind-pooled-time",
        "MIND ",
        10,
    ),
    (f"{RECORD}/results.md", "| EB-NeRD, percent", "ebnerd", "", 21),
    (f"{RECORD}/results.md", "| EB-NeRD with counters", "ebnerd-time", "", 19),
    (f"{RECORD}/results.md", "| pooled MIND with counters", "mind-pooled-time", "", 12),
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
    ("docs/results.md", "| EB-NeRD with counters", "ebnerd-time", "", 6),
    ("docs/results.md", "| EB-NeRD and its readers", "ebnerd-reader", "", 10),
    ("docs/tutorials/read_a_benchmark.md", "| from `table.md`", "mind-pooled", "", 6),
]
# rows that a separate script measured
SEPARATE = ("no text: clicks", "logit of ")
PAIRS = [
    ("ebnerd-time", "Holm over the six pairs", 6),
    ("ebnerd", "1,412 users", 11),
    ("mind-pooled", "Holm over the nine", 9),
    ("mind-mini-news", "Holm over the 13", 8),
]


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


@pytest.mark.parametrize(
    ("name", "folder", "count"),
    [("mind-mini", "mind-mini-sizes", 9), ("EB-NeRD", "ebnerd-sizes", 6)],
)
def test_several_sizes_have_the_figures_of_kept_values(
    name: str, folder: str, count: int, tmp_path: Path
) -> None:
    """They are of no suite, whose tables the test above reads."""
    script, values = ROOT / "benchmarks" / "loaded_sizes.py", RESULTS / folder / "several_sizes.npz"
    command = [sys.executable, str(script), f"--values={values}"]
    shown = tmp_path / "shown.md"
    shown.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    kept = {(row["layers"], row["entries"]): row for row in table(str(shown), "| layers |")}
    said = table(f"{RECORD}/small.md", f"| layers, {name} |")
    assert len(said) == count
    for row in said:
        layers = row.pop(f"layers, {name}")
        assert row.items() <= kept[layers, row["entries"]].items()


def declared_pairs(heading: str) -> Iterator[tuple[str, str, str]]:
    """System, other, and the rest of the line, of the table of tests behind these words."""
    text = (ROOT / RECORD / "results.md").read_text(encoding="utf-8").partition(heading)[2]
    for line in text[text.index("| | against |") :].splitlines()[2:]:
        if not line.startswith("|"):
            return
        system, other, rest = line.strip("|").split("|", 2)
        yield system.strip(), other.strip(), rest


@pytest.mark.parametrize(("folder", "heading", "count"), PAIRS)
def test_differences_and_their_p_are_those_of_the_tests(
    folder: str, heading: str, count: int
) -> None:
    """What is claimed stands on them."""
    lines = (RESULTS / folder / "significance.md").read_text(encoding="utf-8").splitlines()
    tested = {line.split("|")[1].strip(): line for line in lines if " against " in line}
    pairs = [*declared_pairs(f"{heading}")]
    assert len(pairs) == count
    for system, other, rest in pairs:
        cells = [_plain(cell) for cell in tested[f"{system} against {other}"].split("|")[3:-1]]
        auc, fixed, ndcg = cells[0], cells[1], cells[6]
        said = [cell.strip() for cell in rest.strip().strip("|").split("|")]
        assert [said[0], said[3]] == [cell.partition(" p ")[0] for cell in (auc, ndcg)]
        for shown, cell in ((said[1], auc), (said[2], fixed), (said[4], ndcg)):
            assert same(shown, cell.rpartition("p ")[2].removeprefix("= ")), (system, other)


def same(shown: str, exact: str) -> bool:
    """Whether a p is the exact one, rounded to as many places."""
    if shown.startswith("<") or exact.startswith("<"):
        return shown == exact
    places = len(shown.partition(".")[2])
    return abs(float(shown) - float(exact)) <= 0.5 * 10**-places + 1e-9


_ADDED, _SHORT = "AlignedNewsRec_4 (added)", "AlignedNewsRec_4 (32 steps)"
_LARGER = "mind-wide-minilm-equal-820k"
# metric, results, both systems, seeds, and words before the figure
CLAIMS = [
    ("AUC", "ebnerd-time", _ADDED, "ZeroShotPLM (added)", 5, f"`{_ADDED}` is ahead"),
    ("AUC", "ebnerd-time", _ADDED, "TimeBoosted", 5, "and of LightGBM"),
    ("AUC", "mind-pooled-time", _ADDED, "ZeroShotPLM (added)", 5, "on EB-NeRD and"),
    ("AUC", "mind-pooled-time", _ADDED, "TimeAndTitle", 5, "and on MIND"),
    ("nDCG@10", _LARGER, "Tiny-NewsRec_4 (own Stage I)", "PLM-NR_4 (DP)", 3, "(own Stage I)`"),
    ("nDCG@10", "mind-wide-equal", _SHORT, "PLM-NR_4 (DP)", 5, "AlignedNewsRec_4 +"),
    ("nDCG@10", "mind-wide-equal", "Tiny-NewsRec_4", "PLM-NR_4 (DP)", 5, "Tiny-NewsRec_4 +0.44"),
    ("nDCG@10", _LARGER, "Tiny-NewsRec_4", "Tiny-NewsRec_4 w/o Stage II", 3, "Stage II adds"),
]
# by the beginning of a row: the results of each column
EQUAL = {
    "EB-NeRD: `Align": ("ebnerd-equal", "ebnerd-equal-820k"),
    "EB-NeRD: `Tiny-NewsRec_4` against `PLM": ("ebnerd-equal", "ebnerd-equal-820k"),
    "EB-NeRD: `Tiny-NewsRec_4` against itself": ("ebnerd-components", "ebnerd-equal-820k"),
    "English, MiniLM: `Align": ("mind-wide-minilm-equal", _LARGER),
    "English, MiniLM: `Tiny-NewsRec_4` against `PLM": ("mind-wide-minilm-equal", _LARGER),
    "English, MiniLM: `Tiny-NewsRec_4` against itself": ("mind-wide-minilm-components", _LARGER),
    "English, mpnet: `Align": ("mind-wide-equal",),
    "English, mpnet: `Tiny": ("mind-wide-equal",),
}


def figures_of(folder: str, system: str, other: str, metric: str) -> tuple[int, str, float]:
    """Number of seeds, difference with its interval as pages have it, and p."""
    lines = (RESULTS / folder / "significance.md").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith(f"| {system} against {other} "))
    cells = [_plain(cell) for cell in line.split("|")[2:-1]]
    figure, p = cells[1 + 2 * METRICS.index(metric)].split(" p ")
    return int(cells[0]), re.sub(r"(?<=[\[ ])\+", "", figure), float(p.strip("<= "))


@pytest.mark.parametrize(("metric", "folder", "system", "other", "seeds", "words"), CLAIMS)
def test_the_claims_that_the_readme_made_are_among_the_tests(
    metric: str, folder: str, system: str, other: str, seeds: int, words: str
) -> None:
    """A claim must name its pair, and have the difference and interval that were tested."""
    shown = unwrapped(f"{RECORD}/readme.md").split("| percent")[0]
    of_seeds, figure, _ = figures_of(folder, system, other, metric)
    assert of_seeds == seeds
    assert figure in shown[shown.index(words) :][:150]


def test_the_pairs_below_equal_ceilings_are_those_tested() -> None:
    """Bold must be what is shown, and a star what has five seeds."""
    lines = (ROOT / RECORD / "readme.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if re.match(r"\| (EB-NeRD|English, \w+): ", line)]
    assert len(rows) == len(EQUAL)
    for row in rows:
        name, *cells = (cell.strip() for cell in row.split("|")[1:-1])
        (folders,) = (each for begin, each in EQUAL.items() if name.startswith(begin))
        system, *others = re.findall("`(.*?)`", name)
        for cell, folder, short in zip(cells, folders, (True, False), strict=False):
            one = f"{system} (32 steps)" if short and system == "AlignedNewsRec_4" else system
            other = others[0] if others else f"{system} w/o Stage II"
            seeds, figure, p = figures_of(folder, one, other, "AUC")
            figure = f"**{figure}**" if p < 0.05 else figure
            assert cell == figure + (r"\*" if seeds == 5 else ""), name
        assert set(cells[len(folders) :]) <= {"not run"}


def test_a_figure_of_the_results_stands_in_the_record() -> None:
    """The page is a summary, and what it says beyond the record nobody could check."""
    decimals = re.compile(r"\d[\d,]*\.\d+")
    record = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / RECORD).glob("*.md"))
    said = decimals.findall((ROOT / "docs" / "results.md").read_text(encoding="utf-8"))
    assert len(said) > 80
    assert {*said} - {*decimals.findall(record)} == set()
