from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from recbole_tinynews.benchmark.significance import compare, holm


def test_p_and_interval_are_those_of_scipys_bootstrap() -> None:
    """Resampled differences instead of impressions, or one side instead of two, halve it."""
    random = np.random.default_rng(4)
    reference = random.random(300)
    other = reference + random.normal(0.02, 0.2, 300)
    (ours,) = compare(reference, other[None], resamples=4000)
    gain = other - reference
    seeded = {"random_state": np.random.default_rng(1)}  # scipy 1.11 has no rng
    theirs = stats.bootstrap((gain,), np.mean, n_resamples=4000, method="percentile", **seeded)
    assert ours.difference == pytest.approx(gain.mean())
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=2e-3)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=2e-3)
    t_test = stats.ttest_rel(other, reference).pvalue  # for so many it says the same
    assert ours.p == pytest.approx(t_test, abs=0.02)
    assert ours.p_holm == ours.p


def test_two_impressions_have_a_p_that_can_be_counted() -> None:
    """Gains 1 and 3: resampled means 1, 2, 2, 3, the mean 2; none is 2 away from it."""
    (apart,) = compare(np.zeros(2), np.array([[1.0, 3.0]]), resamples=999)
    assert apart.p == 1 / 1000
    # gains -1 and 3: means -1, 1, 1, 3, the mean 1; half of them are at least 1 away
    (half,) = compare(np.zeros(2), np.array([[-1.0, 3.0]]), resamples=9999)
    assert half.p == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 9999))


def test_a_system_beside_itself_is_never_better() -> None:
    values = np.random.default_rng(0).random(50)
    (same,) = compare(values, values[None].copy(), resamples=100)
    assert (same.difference, same.p, same.p_holm) == (0, 1, 1)


def test_pairs_of_impressions_stay_together() -> None:
    """Unpaired, a small gain on every impression would drown in how impressions differ."""
    reference = np.random.default_rng(0).random(200)
    (better,) = compare(reference, reference[None] + 0.001, resamples=999)
    assert better.p == 0.001


def test_the_same_seed_is_the_same_p_whoever_is_compared_beside() -> None:
    random = np.random.default_rng(2)
    reference, others = random.random(40), random.random((3, 40))
    together = compare(reference, others, resamples=200)
    alone = [compare(reference, other[None], resamples=200)[0] for other in others]
    assert [each.p for each in together] == [each.p for each in alone]
    assert together == compare(reference, others, resamples=200)
    assert [each.p_holm for each in together] == holm([each.p for each in together]).tolist()


def test_holm_is_worked_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.5: times 4, 3, 2, 1, never falling: 0.04, 0.06, 0.06, 0.5."""
    corrected = holm([0.5, 0.02, 0.01, 0.03])
    np.testing.assert_allclose(corrected, [0.5, 0.06, 0.04, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.9]), [1, 1])


def test_metrics_of_other_impressions_are_refused() -> None:
    """[2, 1] broadcasts against [3]: every difference would be wrong, and none would be missed."""
    with pytest.raises(ValueError, match="same impressions"):
        compare(np.zeros(3), np.zeros((2, 1)))
