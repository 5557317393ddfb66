"""Paired bootstrap over impressions, and Holm's correction for many comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES, SEED = 10_000, 2022
_AT_ONCE = 2_000_000  # draws in memory


class Comparison(NamedTuple):
    """A system's mean minus the reference's, its 95 % interval, and how likely chance alone is.

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
    """Each system against the reference, all on the same resampled impressions.

    The impressions are drawn anew with replacement (Efron and Tibshirani 1993, chapter 16). Under
    the null hypothesis differences scatter about 0 as resampled ones do about the measured one, so
    the two-sided p is the share of resamples at least as far from it as it is from 0; the measured
    sample counts as one of them, so p is never 0.

    Shapes:
        reference: ``[impressions]``.
        others: ``[systems, impressions]``, of the same impressions in the same order.
    """
    if others.ndim != 2 or others.shape[1:] != reference.shape:
        raise ValueError(
            f"compare expects others of shape [systems, {len(reference)}], as the reference has "
            f"impressions, got {list(others.shape)}. Pass metrics of the same impressions."
        )
    gains = (others - reference).astype(np.float64)  # [systems, impressions]
    measured = gains.mean(axis=1)
    drawn = _resampled_means(gains, resamples, np.random.default_rng(seed))
    # equal means differ in the last bits, by the order of their sums
    tolerance = 1e-12 * np.abs(gains).max(initial=0)
    as_far = np.abs(drawn - measured) >= np.abs(measured) - tolerance
    p = (1 + as_far.sum(axis=0)) / (1 + resamples)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    columns = (measured, low, high, p, holm(p))
    return [Comparison(*map(float, row)) for row in zip(*columns, strict=True)]


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
    gains: NDArray[np.float64], resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """``[resamples, systems]``."""
    count = gains.shape[1]
    means = np.empty((resamples, len(gains)))
    step = max(1, _AT_ONCE // count)
    for start in range(0, resamples, step):
        drawn = random.integers(count, size=(min(step, resamples - start), count))
        for row, chosen in enumerate(drawn, start):
            # how often each impression was drawn
            means[row] = gains @ np.bincount(chosen, minlength=count) / count
    return means
