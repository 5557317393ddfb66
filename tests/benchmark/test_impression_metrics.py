"""Metrics of impressions: kept beside results, and the tables and intervals made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmark_rows import keep, squeeze

from recbole_tinynews.benchmark.impressions import read_files, read_impression_metrics
from recbole_tinynews.benchmark.report import further_table, slice_tables
from recbole_tinynews.benchmark.result_table import as_markdown
from recbole_tinynews.benchmark.significance import Intervals, bootstrap_intervals


def test_impressions_come_back_as_they_were_dumped(tmp_path: Path) -> None:
    """A skipped impression that becomes 0 lowers every mean."""
    kept = read_impression_metrics(keep(tmp_path, "a", ["0.25", "", "1.0"]))
    np.testing.assert_array_equal(kept.values[:, 0], np.float32([0.25, np.nan, 1.0]))
    assert kept.values.shape == (3, 4)
    assert kept.of == read_impression_metrics(keep(tmp_path, "b", ["0", "0", "0"])).of
    assert kept.of != read_impression_metrics(keep(tmp_path, "c", ["0", "0", "0"], "j")).of


def test_users_are_kept_as_numbers_that_name_nobody(tmp_path: Path) -> None:
    """Files of real data are published; a user's id in one would lead to what that user read."""
    place = keep(tmp_path, "a", ["0"] * 4, users=["U77", "U5", "U77", "U9"])
    users = read_impression_metrics(place).users
    assert users is not None
    assert users.tolist() == [0, 1, 0, 2]
    assert b"U77" not in place.read_bytes()


def test_users_histories_hours_and_metrics_are_those_of_their_impression(tmp_path: Path) -> None:
    """The data may have another order than the dump: clusters of other people look right."""
    further = {"calibration@5": ["0.5", "", "2.25"], "hit@5": ["1.0", "0.0", "1.0"]}
    about = {"histories": [0, 3, 700], "hours": [23, 0, 9], "users": ["U1", "U2", "U1"]}
    place = keep(tmp_path, "a", ["0"] * 3, order=[2, 0, 1], further=further, **about)
    kept = read_impression_metrics(place)
    assert kept.users.tolist() == [0, 1, 0]
    assert (kept.history_lengths.tolist(), kept.hours.tolist()) == ([0, 3, 700], [23, 0, 9])
    assert {name: [str(v) for v in values.tolist()] for name, values in kept.further.items()} == {
        **further,
        "calibration@5": ["0.5", "nan", "2.25"],
    }


def test_files_of_earlier_versions_can_be_read(tmp_path: Path) -> None:
    """They are committed, and training again takes days."""
    np.savez_compressed(tmp_path / "old.npz", values=np.zeros((2, 4), np.float32), ids="digest")
    old = read_impression_metrics(tmp_path / "old.npz")
    assert (old.users, old.of, old.values.shape) == (None, "digest", (2, 4))
    assert (old.history_lengths, old.hours, old.further) == (None, None, {})


def test_a_file_takes_few_bytes_an_impression(tmp_path: Path) -> None:
    """A table has hundreds of them, and they are committed."""
    random = np.random.default_rng(0)
    ranks = 1 / random.integers(1, 40, 3000)
    users = [f"U{number}" for number in random.integers(1500, size=3000)]
    about = {"histories": random.geometric(0.03, 3000).tolist()}
    about["hours"] = random.integers(24, size=3000).tolist()
    place = keep(tmp_path, "a", [repr(float(value)) for value in ranks], users=users, **about)
    assert place.stat().st_size < 10 * 3000


ABOUT = {"histories": [0, 3, 5, 60, 2], "hours": [23, 0, 0, 9, 9]}


def test_slices_are_means_over_their_ranked_impressions_and_then_over_seeds(tmp_path: Path) -> None:
    """Seeds with more impressions in a slice, or skipped ones, would weigh more."""
    files = {
        "A": {
            1: keep(tmp_path, "a1", ["0.5", "0.25", "0.75", "1.0", ""], **ABOUT),
            2: keep(tmp_path, "a2", ["0.5", "0.75", "0.75", "0.0", ""], **ABOUT),
        },
        "B": {1: keep(tmp_path, "b1", ["0.5", "0.5", "0.5", "0.75", ""], **ABOUT)},
        "C": {},
    }
    lengths, hours = (
        squeeze(as_markdown(each)).splitlines() for each in slice_tables("ABC", read_files(files))
    )
    assert lengths[0] == "| System, by clicks in the history | 0 (1) | 1-5 (2) | 51+ (1) |"
    assert lengths[2:4] == [
        "| A | 50.00 ± 0.00 | 62.50 ± 17.68 | 50.00 ± 70.71 |",
        "| B | 50.00 | 50.00 | 75.00 |",
    ]
    assert hours[0] == "| System, by hour (UTC) | 00 (2) | 09 (1) | 23 (1) |"
    assert hours[3] == "| B | 50.00 | 75.00 | 50.00 |"
    assert "C" not in {line[2] for line in lengths[2:] if line.startswith("| ")}


def test_files_that_know_no_hours_have_no_slices_and_are_put_into_those_of_others(
    tmp_path: Path,
) -> None:
    """Committed results are of earlier versions; beside a new system they have the same rows."""
    new = keep(tmp_path, "new", ["0.5", "0.25", "0.75", "1.0", "0.5"], **ABOUT)
    old = tmp_path / "old.npz"
    with np.load(new) as arrays:
        np.savez(old, values=arrays["values"], ids=arrays["ids"])
    assert slice_tables(["old"], read_files({"old": {1: old}})) == []
    lengths, _ = slice_tables(["old", "new"], read_files({"old": {1: old}, "new": {1: new}}))
    first, second = (cells[1:] for cells in lengths.groups[0])
    assert first == second


def test_further_metrics_are_means_over_the_impressions_that_have_a_value(tmp_path: Path) -> None:
    """A missing value that counts as 0 would call a new user calibrated."""
    columns = {"hit@5": ["1", "0", ""], "calibration@5": ["2", "", "3"]}
    files = {
        "A": {
            1: keep(tmp_path, "a1", ["0.5"] * 3, further=columns),
            2: keep(tmp_path, "a2", ["0.5"] * 3, further={**columns, "hit@5": ["1", "1", ""]}),
        },
        "B": {1: keep(tmp_path, "b1", ["0.5"] * 3, further={"calibration@5": ["0.5", "", ""]})},
        "C": {1: keep(tmp_path, "c1", ["0.5"] * 3)},
    }
    lines = squeeze(as_markdown(further_table("ABC", read_files(files)))).splitlines()
    assert lines[0] == "| System | hit@5 | calibration@5 |"
    assert lines[2:4] == ["| A | 0.7500 ± 0.3536 | 2.5000 ± 0.0000 |", "| B | | 0.5000 |"]
    assert "| C |" not in "\n".join(lines)
    assert lines[-1].endswith("left out: hit@5 1 of 3; calibration@5 1 to 2 of 3.")
    assert further_table("C", read_files(files)).groups == []


def test_intervals_are_those_of_a_bootstrap_over_users_written_plainly(tmp_path: Path) -> None:
    """Impressions of one user are alike: taken one by one, the interval would be far too short."""
    rng = np.random.default_rng(4)
    users = np.repeat(np.arange(30), 5)
    of_user = rng.normal(0.6, 0.1, 30)
    seeds = [of_user[users] + rng.normal(0, 0.02, 150) for _ in range(2)]
    names = [f"U{each}" for each in users]
    files = {
        "A": {
            seed: keep(tmp_path, f"A{seed}", [repr(float(v)) for v in values], users=names)
            for seed, values in enumerate(seeds)
        }
    }
    found = bootstrap_intervals(read_files(files))
    assert found.over == "users"
    mean = np.mean(seeds, axis=0)
    means = []
    for _ in range(4000):
        drawn = rng.integers(30, size=30)
        means.append(np.concatenate([mean[users == user] for user in drawn]).mean())
    low, high = np.quantile(means, [0.025, 0.975])
    below, above = found.reaches["A", "auc"]
    assert below == pytest.approx(mean.mean() - low, rel=0.1)
    assert above == pytest.approx(high - mean.mean(), rel=0.1)
    assert below > 1.5 * 1.96 * mean.std() / 150**0.5  # one by one


def test_without_users_each_impression_is_drawn_by_itself(tmp_path: Path) -> None:
    """The figure must not say users where nobody knows them."""
    values = np.random.default_rng(1).random(200)
    file = keep(tmp_path, "A", [repr(float(v)) for v in values], users=["U"] * 200)
    found = bootstrap_intervals(read_files({"A": {1: file}, "B": {}}))
    assert found.over == "impressions"
    _, above = found.reaches["A", "mrr"]
    assert above == pytest.approx(1.96 * values.std() / 200**0.5, rel=0.1)
    assert ("B", "mrr") not in found.reaches


def test_without_impressions_there_are_none(tmp_path: Path) -> None:
    assert bootstrap_intervals({"A": {}}) == Intervals()
    assert bootstrap_intervals(read_files({"A": {1: keep(tmp_path, "A", ["0.5"])}})) == Intervals()
