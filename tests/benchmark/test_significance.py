from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from recbole_tinynews.benchmark.significance import (
    Estimate,
    compare,
    holm,
    seeds_and_users_random,
    users_random,
)


def draw(
    random: np.random.Generator, seeds: int, seed_share: float, both_share: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Differences without a true one, ``[seeds, impressions]``, and their 40 users.

    The variance of the mean is about 1: the shares come from seeds and from what a user and a seed
    have together, the rest from users.
    """
    users = 40
    of_seed = random.normal(0, math.sqrt(seed_share * seeds), (seeds, 1))
    of_user = random.normal(0, math.sqrt((1 - seed_share - both_share) * users), (1, users))
    of_both = random.normal(0, math.sqrt(both_share * seeds * users), (seeds, users))
    clusters = np.repeat(np.arange(users), random.integers(1, 4, users))
    return (of_seed + of_user + of_both)[:, clusters], clusters


def plain_t_test(differences: np.ndarray, users: np.ndarray) -> tuple[float, float, float]:
    """Mean, standard error and degrees of freedom, by loops."""
    seeds, impressions = differences.shape
    means = [sum(row) / impressions for row in differences.tolist()]
    mean = sum(means) / seeds
    of_seeds = sum((each - mean) ** 2 for each in means) / (seeds - 1) / seeds
    of_users, count = 0.0, len({*users.tolist()})
    for user in {*users.tolist()}:
        total = 0.0
        for seed in range(seeds):
            for place in range(impressions):
                if users[place] == user:
                    total += (differences[seed, place] - means[seed]) / seeds
        of_users += (total / impressions) ** 2
    of_users *= count / (count - 1)
    variance = of_users + of_seeds
    freedom = variance**2 / (of_users**2 / (count - 1) + of_seeds**2 / (seeds - 1))
    return mean, math.sqrt(variance), freedom


def plain_bootstrap(
    differences: np.ndarray, users: np.ndarray, resamples: int, seed: int
) -> Estimate:
    """One pair, impression by impression."""
    random = np.random.default_rng(seed)
    count = users.max() + 1
    means = []
    for chosen in random.integers(count, size=(resamples, count)).tolist():
        drawn = [value for user in chosen for value in differences[users == user].tolist()]
        means.append(sum(drawn) / len(drawn))
    mean = differences.mean()
    as_far = sum(abs(each - mean) >= abs(mean) for each in means)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(low, high, (1 + as_far) / (1 + resamples))


def test_the_t_test_equals_one_written_as_loops() -> None:
    random = np.random.default_rng(1)
    differences, users = draw(random, 4, 0.3, 0.3)
    order = random.permutation(len(users))  # the impressions of a user need not be neighbours
    differences, users = differences[:, order] + 0.5, users[order]
    mean, error, freedom = plain_t_test(differences, users)
    found = seeds_and_users_random(differences, users)
    reach = stats.t.ppf(0.975, freedom) * error
    assert found.p == pytest.approx(2 * stats.t.sf(abs(mean) / error, freedom))
    assert (found.low, found.high) == pytest.approx((mean - reach, mean + reach))


def test_the_bootstrap_equals_one_written_as_loops() -> None:
    random = np.random.default_rng(3)
    users = np.unique(random.integers(12, size=40), return_inverse=True)[1]
    differences = random.normal(0.1, 1, (2, 40))
    found = users_random(differences, users, resamples=300, seed=7)
    for ours, values in zip(found, differences, strict=True):
        assert ours == pytest.approx(plain_bootstrap(values, users, 300, 7))


def test_with_one_impression_a_user_the_t_test_is_clarks_min_f() -> None:
    """F of subjects and F of items, combined as Clark (1973) does."""
    differences = np.random.default_rng(2).normal(0.3, 1, (5, 30))
    by_seed = stats.ttest_1samp(differences.mean(axis=1), 0).statistic ** 2
    by_user = stats.ttest_1samp(differences.mean(axis=0), 0).statistic ** 2
    min_f = by_seed * by_user / (by_seed + by_user)
    freedom = (by_seed + by_user) ** 2 / (by_seed**2 / 29 + by_user**2 / 4)
    expected = stats.f.sf(min_f, 1, freedom)
    assert seeds_and_users_random(differences, np.arange(30)).p == pytest.approx(expected)


def test_p_and_interval_without_clusters_are_those_of_scipy() -> None:
    """The loops above share their author's reading of a bootstrap."""
    gain = np.random.default_rng(4).normal(0.02, 0.2, 300)
    (ours,) = users_random(gain[None], np.arange(300), resamples=4000)
    seeded = {"random_state": np.random.default_rng(1)}  # scipy 1.11 has no rng
    theirs = stats.bootstrap((gain,), np.mean, n_resamples=4000, method="percentile", **seeded)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=2e-3)
    t_test = stats.ttest_1samp(gain, 0).pvalue  # for so many it says the same
    assert ours.p == pytest.approx(t_test, abs=0.02)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("seed_share", "both_share"), [(0.5, 0.0), (0.5, 0.4), (0.9, 0.05)])
def test_chance_alone_is_rarely_taken_for_a_difference(
    seeds: int, seed_share: float, both_share: float
) -> None:
    """A test over users alone takes the luck of three seeds for a better system."""
    random = np.random.default_rng(5)
    drawn = [draw(random, seeds, seed_share, both_share) for _ in range(1000)]
    wrong = np.mean([seeds_and_users_random(*each).p < 0.05 for each in drawn])
    assert wrong < 0.08
    fixed = [
        users_random(values.mean(axis=0)[None], users, resamples=99)[0].p < 0.05
        for values, users in drawn[:200]
    ]
    assert np.mean(fixed) > 0.12


def test_repeated_impressions_of_a_user_are_no_new_evidence() -> None:
    """Counted one by one, a user who reads ten times as much would decide the test."""
    differences, users = draw(np.random.default_rng(7), 3, 0.2)
    tenfold, of_tenfold = np.repeat(differences, 10, axis=1), np.repeat(users, 10)
    once = seeds_and_users_random(differences + 1, users)
    assert seeds_and_users_random(tenfold + 1, of_tenfold) == pytest.approx(once)
    mean, tenfold_mean = differences[:1] + 1, tenfold[:1] + 1
    once = users_random(mean, users, resamples=200)[0]
    assert users_random(tenfold_mean, of_tenfold, resamples=200)[0] == pytest.approx(once)
    alone = users_random(tenfold_mean, np.arange(len(of_tenfold)), resamples=200)[0]
    assert alone.high - alone.low < 0.5 * (once.high - once.low)


def test_a_system_is_never_better_than_itself() -> None:
    same, users = np.zeros((3, 50)), np.arange(50)
    assert seeds_and_users_random(same, users) == (0, 0, 1)
    assert users_random(same[:1], users, resamples=100) == [(0, 0, 1)]


def test_too_few_seeds_or_users_are_refused() -> None:
    """Two seeds give a p all the same, which is far too small too often."""
    with pytest.raises(ValueError, match="at least 3 seeds, got 2"):
        seeds_and_users_random(np.ones((2, 4)), np.arange(4))
    with pytest.raises(ValueError, match="at least 2 of them, got 1"):
        users_random(np.ones((1, 4)), np.zeros(4, int))


def test_each_pair_gets_both_tests_of_its_own_seeds() -> None:
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(20), 2)
    three, four = random.normal(0.2, 1, (3, 40)), random.normal(0, 1, (4, 40))
    found = compare([three, four], users)
    for each, values in zip(found, (three, four), strict=True):
        assert (each.difference, each.seeds) == (pytest.approx(values.mean()), len(values))
        assert (each.low, each.high, each.p) == seeds_and_users_random(values, users)
        (fixed,) = users_random(values.mean(axis=0)[None], users)  # the same draws
        assert (each.fixed_low, each.fixed_high, each.fixed_p) == pytest.approx(fixed)
    assert [each.p_holm for each in found] == holm([each.p for each in found]).tolist()
    expected = holm([each.fixed_p for each in found]).tolist()
    assert [each.fixed_p_holm for each in found] == expected


def test_a_pair_with_too_few_seeds_has_no_test_that_speaks_of_other_seeds() -> None:
    """It would also weaken the others, by a correction for a test that was not made."""
    random = np.random.default_rng(1)
    one, three = random.normal(0, 1, (1, 30)), random.normal(0.3, 1, (3, 30))
    found = compare([one, three, three], np.arange(30))
    assert (found[0].low, found[0].high, found[0].p, found[0].p_holm) == (None,) * 4
    assert found[0].fixed_p > 0
    assert [found[1].p_holm, found[2].p_holm] == holm([found[1].p, found[2].p]).tolist()
    assert compare([], np.arange(30)) == []


def test_holms_correction_equals_one_worked_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.5: times 4, 3, 2, 1, never falling: 0.04, 0.06, 0.06, 0.5."""
    corrected = holm([0.5, 0.02, 0.01, 0.03])
    np.testing.assert_allclose(corrected, [0.5, 0.06, 0.04, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.9]), [1, 1])
