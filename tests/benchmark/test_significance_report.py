from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from benchmark_rows import keep, squeeze, system

from recbole_tinynews.benchmark.benchmark import Report, write_report
from recbole_tinynews.benchmark.result_table import as_markdown
from recbole_tinynews.benchmark.results import read_files
from recbole_tinynews.benchmark.significance import (
    PairTests,
    compare_pairs,
    significance_csv,
    significance_table,
)
from recbole_tinynews.benchmark.suite import read_suite

Files = dict[str, dict[int, Path]]


def files_of(folder: Path, users: list[str], seeds: int = 3) -> Files:
    """Impressions of systems O and R, with some seeds; O is better by 0.2 and some noise."""
    random = np.random.default_rng(0)
    values = {"O": random.uniform(0.4, 0.6, (seeds, len(users)))}
    values["R"] = values["O"] - random.normal(0.2, 0.05, (seeds, len(users)))
    return {
        name: {
            seed: keep(folder, f"{name}-{seed}", [f"{v:.6f}" for v in row], users=users)
            for seed, row in enumerate(of_system, start=1)
        }
        for name, of_system in values.items()
    }


def compared(files: Files, *pairs: tuple[str, str]) -> PairTests:
    found = compare_pairs(pairs or [("O", "R")], read_files(files))
    assert found is not None
    return found


def test_systems_are_paired_by_seed_and_skipped_impressions_are_left_out(tmp_path: Path) -> None:
    """Seed 1 of one system minus seed 2 of the other is noise that a pair doesn't have."""
    files = {
        "R": {
            1: keep(tmp_path, "r1", ["0.2", "", "0.4"]),
            2: keep(tmp_path, "r2", ["0.4", "", "0.6"]),
            3: keep(tmp_path, "r3", ["0.9", "", "0.9"]),
        },
        "O": {
            2: keep(tmp_path, "o2", ["0.5", "", "0.9"]),
            1: keep(tmp_path, "o1", ["0.3", "", "0.7"]),
        },
    }
    tests = compared(files)
    assert (tests.impressions, tests.users, tests.untested) == (2, 2, [])
    found = tests.found["auc"]["O", "R"]
    assert (found.difference, found.seeds) == (pytest.approx(0.2), 2)
    # impressions' means over seeds: 0.1 and 0.3
    assert (found.fixed_low, found.fixed_high) == pytest.approx((0.1, 0.3))
    assert found.p is None
    rows = list(csv.DictReader(significance_csv(tests).splitlines()))
    assert [row["metric"] for row in rows] == ["auc", "mrr", "ndcg@5", "ndcg@10"]
    assert (rows[0]["system"], rows[0]["other"]) == ("O", "R")
    assert (rows[0]["difference"], rows[0]["seeds"], rows[0]["p"]) == ("0.2", "2", "")


def test_users_are_clusters_where_they_are_known_and_the_text_says_so(tmp_path: Path) -> None:
    """A reader has to know whether 40 impressions are 40 people or 4."""
    users = [f"U{row % 4}" for row in range(40)]
    files = files_of(tmp_path, users)
    tests = compared(files)
    text = squeeze(as_markdown(significance_table(tests)))
    assert tests.users == 4
    assert "Seeds and users random" in text
    assert "over 4 users (clusters: their impressions together)" in text
    assert "over 40 impressions;" in text
    assert "1 with random seeds, 1 with fixed ones" in text
    line = next(line for line in text.splitlines() if line.startswith("| O against R | 3 | **+"))
    assert line.count("**") == 8  # four metrics
    alone = compared(files_of(tmp_path, ["U"] * 40))  # one id for all
    assert alone.users is None
    assert "40 impressions (users are not known)" in as_markdown(significance_table(alone))


def test_users_are_taken_from_the_files_that_know_them(tmp_path: Path) -> None:
    """Rows of an earlier version stand beside new ones in one table."""
    users = ["U1", "U1", "U2", "U3"]
    files = files_of(tmp_path, users)
    for seed, file in files["R"].items():
        with np.load(file) as arrays:
            old = {name: arrays[name] for name in ("values", "ids")}
        files["R"][seed] = tmp_path / f"old-{seed}.npz"
        np.savez_compressed(files["R"][seed], **old)
    assert compared(files).users == 3
    files["O"] = files["R"]
    assert compared(files).users is None


@pytest.mark.parametrize("changed", [{"ids": "j"}, {"users": ["U1", "U1"]}])
def test_systems_that_ranked_other_impressions_are_not_compared(tmp_path: Path, changed) -> None:
    """An equal number of impressions does not make them the same impressions."""
    two = ["0.2", "0.3"]
    files = {"A": {1: keep(tmp_path, "a", two)}, "B": {1: keep(tmp_path, "b", two, **changed)}}
    with pytest.raises(ValueError, match="the same impressions of the same users"):
        compare_pairs([("A", "B")], read_files(files))


def test_a_pair_without_a_common_seed_is_named_and_the_others_are_tested(tmp_path: Path) -> None:
    """A pair that silently disappears looks as if it had never been declared."""
    files = {**files_of(tmp_path, ["U1", "U2", "U3"], seeds=1), "later": {}}
    files["other"] = {7: files["O"][1]}
    tests = compared(files, ("O", "R"), ("O", "later"), ("other", "R"))
    assert [*tests.found["auc"]] == [("O", "R")]
    text = squeeze(as_markdown(significance_table(tests)))
    assert "Not tested, as no seed has impressions of both: O against later; other against R." in (
        text
    )
    assert "so pairs with fewer have none" in text


def test_nothing_outdated_is_left_where_nothing_can_be_tested(tmp_path: Path) -> None:
    """A significance test left from an earlier report would not match the table."""
    systems = [
        system(name, {"auc": 0.5}, impressions={1: of_system[1]})
        for name, of_system in files_of(tmp_path, ["U1", "U2", "U3"], seeds=1).items()
    ]
    suite = read_suite("paper", "any")._replace(comparisons=[("O", "R")], figure=[])
    output = tmp_path / "out"
    write_report(output, Report(suite, [1], systems))
    names = ["significance.csv", "significance.md"]
    assert sorted(each.name for each in output.glob("significance.*")) == names
    write_report(output, Report(suite, [1], systems[:1]))
    assert not list(output.glob("significance.*"))
