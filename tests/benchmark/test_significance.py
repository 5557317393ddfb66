from __future__ import annotations

import numpy as np
import pytest

from recbole_tinynews.benchmark.significance import (
    compare,
    holm,
    seeds_and_users_random,
    users_random,
)


def test_each_pair_gets_both_tests_of_its_own_seeds() -> None:
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(20), 2)
    three, four = random.normal(0.2, 1, (3, 40)), random.normal(0, 1, (4, 40))
    found = compare([three, four], users, resamples=200, seed=3)
    for each, values in zip(found, (three, four), strict=True):
        assert (each.difference, each.seeds) == (pytest.approx(values.mean()), len(values))
        assert (each.low, each.high, each.p) == seeds_and_users_random(values, users)
        (fixed,) = users_random(values.mean(axis=0)[None], users, 200, 3)  # the same draws
        assert (each.fixed_low, each.fixed_high, each.fixed_p) == pytest.approx(fixed)
    assert [each.p_holm for each in found] == holm([each.p for each in found]).tolist()
    expected = holm([each.fixed_p for each in found]).tolist()
    assert [each.fixed_p_holm for each in found] == expected


def test_a_pair_with_too_few_seeds_has_no_test_that_speaks_of_other_seeds() -> None:
    """It would also weaken the others, by a correction for a test that was not made."""
    random = np.random.default_rng(1)
    one, three = random.normal(0, 1, (1, 30)), random.normal(0.3, 1, (3, 30))
    found = compare([one, three, three], np.arange(30), resamples=100)
    assert (found[0].low, found[0].high, found[0].p, found[0].p_holm) == (None,) * 4
    assert found[0].fixed_p > 0
    assert [found[1].p_holm, found[2].p_holm] == holm([found[1].p, found[2].p]).tolist()
    assert compare([], np.arange(30)) == []


def test_holms_correction_equals_one_worked_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.5: times 4, 3, 2, 1, never falling: 0.04, 0.06, 0.06, 0.5."""
    corrected = holm([0.5, 0.02, 0.01, 0.03])
    np.testing.assert_allclose(corrected, [0.5, 0.06, 0.04, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.9]), [1, 1])
