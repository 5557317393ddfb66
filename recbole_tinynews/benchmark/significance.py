"""Tests of the pairs that a suite declares, over users or users and seeds; Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import getLogger
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from recbole_tinynews.benchmark.result_table import HEADS, Cell, Table
from recbole_tinynews.benchmark.results import METRICS, ReadFiles, as_csv, impression_set
from recbole_tinynews.benchmark.suite import Pair

SIGNIFICANT = 0.05
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
    differences: Sequence[NDArray[np.floating]], users: NDArray[np.integer]
) -> list[Comparison]:
    """Test each pair; ``differences`` and ``users`` as for ``seeds_and_users_random``."""
    if not differences:
        return []
    exact = [pair.astype(np.float64) for pair in differences]
    fixed = users_random(np.stack([pair.mean(axis=0) for pair in exact]), users)
    both = [
        seeds_and_users_random(pair, users) if len(pair) >= FEWEST_SEEDS else None for pair in exact
    ]
    tested = iter(holm([estimate.p for estimate in both if estimate]).tolist())
    corrected = holm([estimate.p for estimate in fixed]).tolist()
    comparisons = []
    for pair, of_both, of_fixed, p_holm in zip(exact, both, fixed, corrected, strict=True):
        low, high, p = of_both or (None, None, None)
        random = low, high, p, next(tested) if of_both else None
        comparisons.append(Comparison(float(pair.mean()), len(pair), *random, *of_fixed, p_holm))
    return comparisons


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


class PairTests(NamedTuple):
    """Comparisons by metric and pair."""

    found: Mapping[str, Mapping[Pair, Comparison]]
    impressions: int
    users: int | None  # None where each impression is a cluster
    untested: Sequence[Pair]  # without a common seed


def compare_pairs(pairs: Sequence[Pair], read: ReadFiles) -> PairTests | None:
    """Compare each pair over common seeds, without skipped impressions; None without pairs."""
    named = {name for pair in pairs for name in pair}
    values, clusters, users = impression_set(
        {name: of_system for name, of_system in read.items() if name in named}
    )
    seeds = {(a, b): sorted({*values.get(a, {})} & {*values.get(b, {})}) for a, b in pairs}
    tested = [pair for pair in pairs if seeds[pair]]
    if not tested or len(clusters) < 2:
        if pairs:
            getLogger().warning(
                "No pair of systems is tested: none has metrics of its impressions with the same "
                "seed. They were written beside results.csv, where the benchmark ran."
            )
        return None

    def differences(pair: Pair, metric: int) -> NDArray[np.float64]:  # [seeds, impressions]
        system, other = (
            np.stack([values[name][seed][:, metric] for seed in seeds[pair]]) for name in pair
        )
        return system.astype(np.float64) - other

    found = {
        metric: compare([differences(pair, column) for pair in tested], clusters)
        for column, metric in enumerate(METRICS)
    }
    return PairTests(
        {metric: dict(zip(tested, tests, strict=True)) for metric, tests in found.items()},
        len(clusters),
        users,
        [pair for pair in pairs if not seeds[pair]],
    )


def significance_csv(tests: PairTests) -> str:
    """CSV with one row per metric and pair."""
    rows = [
        {
            **{"metric": metric, "system": system, "other": other},
            **{
                name: value if value is None or name == "seeds" else f"{value:.3g}"
                for name, value in comparison._asdict().items()
            },
        }
        for metric, of_metric in tests.found.items()
        for (system, other), comparison in of_metric.items()
    ]
    return as_csv(["metric", "system", "other", *Comparison._fields], rows)


def significance_table(tests: PairTests) -> Table:
    """One row per pair, in percentage points; bold where significant with random seeds."""
    heads = [column for metric in METRICS for column in (HEADS[metric], "seeds fixed")]
    rows = [
        [
            Cell(" against ".join(pair)),
            Cell(str(first.seeds)),
            *(cell for metric in METRICS for cell in _cells(tests.found[metric][pair])),
        ]
        for pair, first in tests.found[METRICS[0]].items()
    ]
    return Table(["system against other", "seeds", *heads], [rows], _notes_of_tests(tests))


def _cells(comparison: Comparison) -> tuple[Cell, Cell]:
    """The test with random seeds, if there is one, and that with fixed seeds."""
    text, sure = f"{100 * comparison.difference:+.2f}", False
    low, high, p = comparison.low, comparison.high, comparison.p_holm
    if low is not None and high is not None and p is not None:
        text += f" [{100 * low:+.2f}, {100 * high:+.2f}] {_p_value(p)}"
        sure = p < SIGNIFICANT
    return Cell(text, sure), Cell(_p_value(comparison.fixed_p_holm))


def _p_value(value: float) -> str:
    return f"p = {value:.4f}" if value >= 0.0001 else "p < 0.0001"


def _notes_of_tests(tests: PairTests) -> list[str]:
    """Notes on what was tested and how."""
    comparisons = tests.found[METRICS[0]].values()
    random = sum(comparison.p is not None for comparison in comparisons)
    if tests.users:
        unit, clusters = "users", f"{tests.users:,} users (clusters: their impressions together)"
    else:
        unit, clusters = "impressions", f"{tests.impressions:,} impressions (users are not known)"
    notes = [
        f"Difference of means in percent points over {tests.impressions:,} impressions; both "
        "systems of a pair have the same seeds, as many as their column says.",
        f"Seeds and {unit} random: 95 % interval and p of a t test whose variance is that over "
        f"{clusters} plus that over seeds; it holds for other seeds. It needs {FEWEST_SEEDS} seeds"
        f"{', so pairs with fewer have none' if random < len(comparisons) else ''}. "
        f"Bold: p < {SIGNIFICANT}.",
        f"Seeds fixed: p of a bootstrap over {clusters}, {RESAMPLES:,} resamples, seed {SEED}; it "
        "holds for these trained models, not for other seeds.",
        "Each p is corrected after Holm for the comparisons of its column, which were declared "
        f"beforehand: {random} with random seeds, {len(comparisons)} with fixed ones. Intervals "
        "are not corrected.",
    ]
    if tests.untested:
        named = "; ".join(" against ".join(pair) for pair in tests.untested)
        notes.append(f"Not tested, as no seed has impressions of both: {named}.")
    return notes
