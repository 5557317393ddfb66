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
