"""Paired bootstrap over impressions, and Holm's correction for many comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES, SEED = 10_000, 2022
_AT_ONCE = 2_000_000  # draws in memory


class Comparison(NamedTuple):
    """A system's mean minus another's, its 95 % interval, and how likely chance alone is.

    ``p`` is of this comparison alone, ``p_holm`` of all that are made with the same other system.
    """

    difference: float
    low: float
    high: float
    p: float
    p_holm: float


def compare(
    values: NDArray[np.floating], resamples: int = RESAMPLES, seed: int = SEED
) -> dict[tuple[int, int], Comparison]:
    """Compare each system with each other one, all on the same resampled impressions.

    The impressions are resampled with replacement (Efron and Tibshirani 1993, chapter 16). Under
    the null hypothesis differences scatter about 0 as resampled ones do about the measured one, so
    the two-sided p is the share of resamples at least as far from it as it is from 0; the measured
    sample counts as one of them, so p is never 0.

    Shapes:
        values: ``[systems, impressions]``.
        returned: by the rows of a system and of the one that it is compared with.
    """
    exact = values.astype(np.float64)
    means = exact.mean(axis=1)
    drawn = _resampled_means(exact, resamples, np.random.default_rng(seed))
    # equal means differ in the last bits, by the order of their sums
    tolerance = 1e-12 * np.abs(exact).max(initial=0)
    found: dict[tuple[int, int], Comparison] = {}
    for system, other in combinations(range(len(values)), 2):
        measured = means[system] - means[other]
        gains = drawn[:, system] - drawn[:, other]
        low, high = np.quantile(gains, (0.025, 0.975)).tolist()
        as_far = np.abs(gains - measured) >= np.abs(measured) - tolerance
        p = (1 + int(as_far.sum())) / (1 + resamples)
        found[system, other] = Comparison(float(measured), low, high, p, p)
        found[other, system] = Comparison(0.0 - float(measured), -high, -low, p, p)
    for other in range(len(values)):
        pairs = [(system, other) for system in range(len(values)) if system != other]
        corrected = holm([found[pair].p for pair in pairs]).tolist()
        for pair, p_holm in zip(pairs, corrected, strict=True):
            found[pair] = found[pair]._replace(p_holm=p_holm)
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


def _resampled_means(
    values: NDArray[np.float64], resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """The mean of each system in each resample, ``[resamples, systems]``."""
    count = values.shape[1]
    means = np.empty((resamples, len(values)))
    step = max(1, _AT_ONCE // count)
    for start in range(0, resamples, step):
        drawn = random.integers(count, size=(min(step, resamples - start), count))
        for row, chosen in enumerate(drawn, start):
            # how often each impression was drawn
            means[row] = values @ np.bincount(chosen, minlength=count) / count
    return means
