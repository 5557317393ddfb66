from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmark_rows import keep

from recbole_tinynews.benchmark.impressions import read_files
from recbole_tinynews.benchmark.results import Intervals
from recbole_tinynews.benchmark.significance import bootstrap_intervals


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
    reach = found.of("A", "auc")
    assert reach is not None
    assert reach.below == pytest.approx(mean.mean() - low, rel=0.1)
    assert reach.above == pytest.approx(high - mean.mean(), rel=0.1)
    one_by_one = 1.96 * mean.std() / 150**0.5
    assert reach.below > 1.5 * one_by_one


def test_without_users_each_impression_is_drawn_by_itself(tmp_path: Path) -> None:
    """The figure must not say users where nobody knows them."""
    values = np.random.default_rng(1).random(200)
    file = keep(tmp_path, "A", [repr(float(v)) for v in values], users=["U"] * 200)
    found = bootstrap_intervals(read_files({"A": {1: file}, "B": {}}))
    assert found.over == "impressions"
    reach = found.of("A", "mrr")
    assert reach is not None
    assert reach.above == pytest.approx(1.96 * values.std() / 200**0.5, rel=0.1)
    assert found.of("B", "mrr") is None


def test_without_impressions_there_are_none(tmp_path: Path) -> None:
    assert bootstrap_intervals({"A": {}}) == Intervals()
    assert bootstrap_intervals(read_files({"A": {1: keep(tmp_path, "A", ["0.5"])}})) == Intervals()
