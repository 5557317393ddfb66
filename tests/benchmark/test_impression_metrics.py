"""Metrics of impressions: kept beside results, and the table made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from benchmark_rows import keep, squeeze

from recbole_tinynews.benchmark.impression_files import read_files, read_impression_metrics
from recbole_tinynews.benchmark.report import further_table
from recbole_tinynews.benchmark.result_table import as_markdown


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


def test_users_and_metrics_are_those_of_their_impression(tmp_path: Path) -> None:
    """The data may have another order than the dump: clusters of other people look right."""
    further = {"calibration@5": ["0.5", "", "2.25"], "hit@5": ["1.0", "0.0", "1.0"]}
    users = ["U1", "U2", "U1"]
    place = keep(tmp_path, "a", ["0"] * 3, users=users, order=[2, 0, 1], further=further)
    kept = read_impression_metrics(place)
    assert kept.users.tolist() == [0, 1, 0]
    assert {name: [str(v) for v in values.tolist()] for name, values in kept.further.items()} == {
        **further,
        "calibration@5": ["0.5", "nan", "2.25"],
    }


def test_files_of_earlier_versions_can_be_read(tmp_path: Path) -> None:
    """They are committed, and training again takes days."""
    np.savez_compressed(tmp_path / "old.npz", values=np.zeros((2, 4), np.float32), ids="digest")
    old = read_impression_metrics(tmp_path / "old.npz")
    assert (old.users, old.of, old.values.shape) == (None, "digest", (2, 4))
    assert old.further == {}


def test_a_file_takes_few_bytes_an_impression(tmp_path: Path) -> None:
    """A table has hundreds of them, and they are committed."""
    random = np.random.default_rng(0)
    ranks = 1 / random.integers(1, 40, 3000)
    users = [f"U{number}" for number in random.integers(1500, size=3000)]
    place = keep(tmp_path, "a", [repr(float(value)) for value in ranks], users=users)
    assert place.stat().st_size < 10 * 3000


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
    assert further_table("C", read_files(files)).groups == []
