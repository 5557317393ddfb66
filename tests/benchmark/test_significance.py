from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from recbole_tinynews.benchmark.significance import Comparison, compare, holm


def against(reference: np.ndarray, others: np.ndarray, resamples: int = 1000) -> list[Comparison]:
    """Each of the others compared with the reference."""
    found = compare(np.vstack([reference[None], others]), resamples)
    return [found[1 + row, 0] for row in range(len(others))]


def test_p_and_interval_are_those_of_scipys_bootstrap() -> None:
    """Resampled differences instead of impressions, or one side instead of two, halve it."""
    random = np.random.default_rng(4)
    reference = random.random(300)
    other = reference + random.normal(0.02, 0.2, 300)
    (ours,) = against(reference, other[None], resamples=4000)
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
    (apart,) = against(np.zeros(2), np.array([[1.0, 3.0]]), resamples=999)
    assert apart.p == 1 / 1000
    # gains -1 and 3: means -1, 1, 1, 3, the mean 1; half of them are at least 1 away
    (half,) = against(np.zeros(2), np.array([[-1.0, 3.0]]), resamples=9999)
    assert half.p == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 9999))


def test_a_system_is_never_better_than_itself() -> None:
    values = np.random.default_rng(0).random(50)
    (same,) = against(values, values[None].copy(), resamples=100)
    assert (same.difference, same.p, same.p_holm) == (0, 1, 1)


def test_pairs_of_impressions_stay_together() -> None:
    """Unpaired, a small gain on every impression would drown in how impressions differ."""
    reference = np.random.default_rng(0).random(200)
    (better,) = against(reference, reference[None] + 0.001, resamples=999)
    assert better.p == 0.001


def test_p_depends_on_the_seed_and_not_on_the_other_comparisons() -> None:
    random = np.random.default_rng(2)
    reference, others = random.random(40), random.random((3, 40))
    together = against(reference, others, resamples=200)
    alone = [against(reference, other[None], resamples=200)[0] for other in others]
    assert [each.p for each in together] == [each.p for each in alone]
    assert together == against(reference, others, resamples=200)
    assert [each.p_holm for each in together] == holm([each.p for each in together]).tolist()


def test_holms_correction_equals_one_worked_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.5: times 4, 3, 2, 1, never falling: 0.04, 0.06, 0.06, 0.5."""
    corrected = holm([0.5, 0.02, 0.01, 0.03])
    np.testing.assert_allclose(corrected, [0.5, 0.06, 0.04, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.9]), [1, 1])


def test_a_comparison_in_the_other_direction_says_the_same() -> None:
    """A statement about two systems needs one answer, whichever of them is named first."""
    values = np.random.default_rng(3).random((3, 60))
    found = compare(values, resamples=300)
    assert len(found) == 6
    for (system, other), there in found.items():
        back = found[other, system]
        assert there.difference == pytest.approx(values[system].mean() - values[other].mean())
        assert (there.difference, there.low, there.p) == (-back.difference, -back.high, back.p)


def test_a_comparison_is_corrected_for_those_with_the_same_system() -> None:
    """Corrected for all pairs of 37 systems, no p of 10,000 resamples could be below 0.05."""
    found = compare(np.random.default_rng(5).random((4, 80)), resamples=200)
    for other in range(4):
        of_other = [each for (_, reference), each in found.items() if reference == other]
        expected = holm([each.p for each in of_other]).tolist()
        assert [each.p_holm for each in of_other] == expected
