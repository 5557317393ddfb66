"""Metrics of impressions, which are kept beside results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from benchmark_rows import keep

from recbole_tinynews.benchmark.results import read_impression_metrics


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


def test_users_are_those_of_their_impression(tmp_path: Path) -> None:
    """The data may have another order than the dump: clusters of other people look right."""
    users = ["U1", "U2", "U1"]
    kept = read_impression_metrics(keep(tmp_path, "a", ["0"] * 3, users=users, order=[2, 0, 1]))
    assert kept.users.tolist() == [0, 1, 0]


def test_files_of_earlier_versions_can_be_read(tmp_path: Path) -> None:
    """They are committed, and training again takes days."""
    np.savez_compressed(tmp_path / "old.npz", values=np.zeros((2, 4), np.float32), ids="digest")
    old = read_impression_metrics(tmp_path / "old.npz")
    assert (old.users, old.of, old.values.shape) == (None, "digest", (2, 4))


def test_a_file_takes_few_bytes_an_impression(tmp_path: Path) -> None:
    """A table has hundreds of them, and they are committed."""
    random = np.random.default_rng(0)
    ranks = 1 / random.integers(1, 40, 3000)
    users = [f"U{number}" for number in random.integers(1500, size=3000)]
    place = keep(tmp_path, "a", [repr(float(value)) for value in ranks], users=users)
    assert place.stat().st_size < 10 * 3000
