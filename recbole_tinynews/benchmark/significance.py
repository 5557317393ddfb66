"""Paired bootstrap over impressions, and Holm's correction for many comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES, SEED = 10_000, 2022
_AT_ONCE = 2_000_000  # draws in memory


class Comparison(NamedTuple):
    """A system's mean minus another's, its 95 % interval, and how likely chance alone is.

    ``p`` is of this comparison alone, ``p_holm`` of all that are made together.
    """

    difference: float
    low: float
    high: float
    p: float
    p_holm: float


def compare(
    reference: NDArray[np.floating],
    others: NDArray[np.floating],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Comparison]:
    """Each system against the reference.

    Shapes:
        reference: ``[impressions]``.
        others: ``[systems, impressions]``, of the same impressions in the same order.
    """
    if others.ndim != 2 or others.shape[1:] != reference.shape:
        raise ValueError(
            f"compare expects others of shape [systems, {len(reference)}], as the reference has "
            f"impressions, got {list(others.shape)}. Pass metrics of the same impressions."
        )
    pairs = [(system, 0) for system in range(1, 1 + len(others))]
    return compare_pairs(np.vstack([reference[None], others]), pairs, resamples, seed)


def compare_pairs(
    values: NDArray[np.floating],
    pairs: Sequence[tuple[int, int]],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Comparison]:
    """The first system of each pair against its second, all on the same resampled impressions.

    The impressions are drawn anew with replacement (Efron and Tibshirani 1993, chapter 16). Under
    the null hypothesis differences scatter about 0 as resampled ones do about the measured one, so
    the two-sided p is the share of resamples at least as far from it as it is from 0; the measured
    sample counts as one of them, so p is never 0.

    Shapes:
        values: ``[systems, impressions]``.
        pairs: of rows of ``values``.
    """
    exact = values.astype(np.float64)
    means = exact.mean(axis=1)
    drawn = _resampled_means(exact, resamples, np.random.default_rng(seed))
    # equal means differ in the last bits, by the order of their sums
    tolerance = 1e-12 * np.abs(exact).max(initial=0)
    found = []
    for system, other in pairs:
        measured = means[system] - means[other]
        gains = drawn[:, system] - drawn[:, other]
        as_far = np.abs(gains - measured) >= np.abs(measured) - tolerance
        low, high = np.quantile(gains, (0.025, 0.975))
        found.append((measured, low, high, (1 + as_far.sum()) / (1 + resamples)))
    corrected = holm([p for *_, p in found])
    return [
        Comparison(*map(float, (*row, p_holm)))
        for row, p_holm in zip(found, corrected, strict=True)
    ]


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
    """``[resamples, systems]``."""
    count = values.shape[1]
    means = np.empty((resamples, len(values)))
    step = max(1, _AT_ONCE // count)
    for start in range(0, resamples, step):
        drawn = random.integers(count, size=(min(step, resamples - start), count))
        for row, chosen in enumerate(drawn, start):
            # how often each impression was drawn
            means[row] = values @ np.bincount(chosen, minlength=count) / count
    return means
