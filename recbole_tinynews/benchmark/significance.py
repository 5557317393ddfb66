"""Tests of mean differences, over users or users and seeds; Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

FEWEST_SEEDS = 3
RESAMPLES, SEED = 10_000, 2022
_AT_ONCE = 2_000_000  # users drawn at a time, to bound memory


class Estimate(NamedTuple):
    """95 % interval of a mean difference, and two-sided p-value."""

    low: float
    high: float
    p: float


class Comparison(NamedTuple):
    """A system's mean minus another's over seeds and all impressions, with a 95 % interval.

    Without prefix: ``seeds_and_users_random``, None with too few seeds; ``fixed_``:
    ``users_random``; ``holm``: corrected for all pairs.
    """

    difference: float
    seeds: int
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    fixed_low: float
    fixed_high: float
    fixed_p: float
    fixed_p_holm: float


def compare(
    differences: Sequence[NDArray[np.floating]],
    users: NDArray[np.integer],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Comparison]:
    """Test each pair; ``differences`` and ``users`` as for ``seeds_and_users_random``."""
    if not differences:
        return []
    exact = [each.astype(np.float64) for each in differences]
    fixed = users_random(np.stack([each.mean(axis=0) for each in exact]), users, resamples, seed)
    both = [
        seeds_and_users_random(each, users) if len(each) >= FEWEST_SEEDS else None for each in exact
    ]
    tested = iter(holm([each.p for each in both if each]).tolist())
    corrected = holm([each.p for each in fixed]).tolist()
    found = []
    for values, of_both, of_fixed, p_holm in zip(exact, both, fixed, corrected, strict=True):
        low, high, p = of_both or (None, None, None)
        random = low, high, p, next(tested) if of_both else None
        found.append(Comparison(float(values.mean()), len(values), *random, *of_fixed, p_holm))
    return found


def holm(p: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Holm's step-down correction (1979): p-values that hold for all comparisons together.

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return corrected


def seeds_and_users_random(
    differences: NDArray[np.floating], users: NDArray[np.integer]
) -> Estimate:
    """A t test that generalises to other seeds and other users.

    The squared standard error is the variance over users, as clusters (Cameron, Gelbach and Miller
    2008), plus that over seeds; degrees of freedom are Satterthwaite's (1946). With one impression
    per user this is min F' of Clark (1973). The interaction is in both terms and not subtracted:
    the test is conservative where it is large. A percentile bootstrap over three seeds would miss
    the truth in a quarter of cases where seeds dominate (``docs/benchmark.md``).

    ``differences`` are ``[seeds, impressions]``, of two systems with the same seed; ``users``,
    ``[impressions]``, numbers from 0 without gaps. ``ValueError`` for fewer than 2 users, or fewer
    than 3 seeds: with 2, it errs up to 13 % of the time.
    """
    seeds, impressions = differences.shape
    if seeds < FEWEST_SEEDS:
        raise ValueError(
            f"A test with random seeds expects at least {FEWEST_SEEDS} seeds, got {seeds}. Run "
            "more, or use users_random, which says nothing about other seeds."
        )
    by_seed = differences.mean(axis=1)
    mean = float(by_seed.mean())
    of_users = _totals((differences - by_seed[:, None]).mean(axis=0)[None], users)[0]
    count = len(of_users)
    user_part = count / (count - 1) * float((of_users**2).sum()) / impressions**2
    seed_part = float(by_seed.var(ddof=1)) / seeds
    variance = user_part + seed_part
    if variance == 0:  # the same difference everywhere
        return Estimate(mean, mean, float(mean == 0))
    freedom = variance**2 / (user_part**2 / (count - 1) + seed_part**2 / (seeds - 1))
    error = variance**0.5
    reach = error * float(stdtrit(freedom, 0.975))
    return Estimate(mean - reach, mean + reach, 2 * float(stdtr(freedom, -abs(mean) / error)))


def users_random(
    differences: NDArray[np.floating],
    users: NDArray[np.integer],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Estimate]:
    """A bootstrap that generalises to other users, for these trained models; a result per pair.

    Users are resampled with all their impressions (Davison and Hinkley 1997, section 3.8), with the
    same draws for every pair, for percentile intervals. p is the share of resamples at least as far
    from the measured mean as it is from 0 (Efron and Tibshirani 1993, chapter 16), including the
    measured sample, so never 0. ``differences``, ``[pairs, impressions]``, are of means over seeds.
    """
    exact = differences.astype(np.float64)
    totals = _totals(exact, users)  # [pairs, users]
    drawn = _resampled_means(totals, np.bincount(users), resamples, np.random.default_rng(seed))
    # equal means can differ in their last bits, by the order of summation
    tolerance = 1e-12 * np.abs(exact).max(initial=0)
    found = []
    for mean, means in zip(exact.mean(axis=1), drawn.T, strict=True):
        low, high = np.quantile(means, (0.025, 0.975)).tolist()
        as_far = np.abs(means - mean) >= np.abs(mean) - tolerance
        found.append(Estimate(low, high, (1 + int(as_far.sum())) / (1 + resamples)))
    return found


def _totals(values: NDArray[np.float64], users: NDArray[np.integer]) -> NDArray[np.float64]:
    """Sums over each user's impressions, ``[rows, impressions]`` to ``[rows, users]``."""
    totals = np.array([np.bincount(users, row) for row in values], np.float64)
    if totals.shape[1] < 2:
        raise ValueError(
            f"A test with random users expects at least 2 of them, got {totals.shape[1]}. Where a "
            "data set does not tell users apart, number its impressions."
        )
    return totals


def _resampled_means(
    totals: NDArray[np.float64],
    sizes: NDArray[np.integer],
    resamples: int,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Mean of each pair over the impressions of resampled users, ``[resamples, pairs]``."""
    count = len(sizes)
    means = np.empty((resamples, len(totals)))
    step = max(1, _AT_ONCE // count)
    for start in range(0, resamples, step):
        drawn = random.integers(count, size=(min(step, resamples - start), count))
        for row, chosen in enumerate(drawn, start):
            times = np.bincount(chosen, minlength=count)  # how often each user was drawn
            means[row] = totals @ times / (sizes @ times)
    return means
