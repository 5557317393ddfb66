"""Pairs of systems that were declared beforehand, tested together: Holm's correction over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.benchmark.mean_difference import (
    FEWEST_SEEDS,
    RESAMPLES,
    SEED,
    seeds_and_users_random,
    users_random,
)


class Comparison(NamedTuple):
    """A system's mean minus another's over ``seeds`` seeds and all impressions.

    ``low``, ``high`` (95 %) and ``p`` are those of ``seeds_and_users_random``, None with too few
    seeds for it; those named ``fixed_`` of ``users_random``, for these trained models alone. ``p``
    is of this pair alone, ``p_holm`` of all pairs that have one.
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
    """Test each pair of systems; an empty sequence gives an empty list.

    Shapes:
        differences: of each pair ``[its seeds, impressions]``, both systems with the same seed.
        users: ``[impressions]``, numbers from 0 without gaps.
    """
    if not differences:
        return []
    exact = [each.astype(np.float64) for each in differences]
    fixed = users_random(np.stack([each.mean(axis=0) for each in exact]), users, resamples, seed)
    both = [
        seeds_and_users_random(each, users) if len(each) >= FEWEST_SEEDS else None for each in exact
    ]
    tested = iter(holm([each.p for each in both if each]).tolist())
    return [
        Comparison(
            difference=float(values.mean()),
            seeds=len(values),
            low=of_both.low if of_both else None,
            high=of_both.high if of_both else None,
            p=of_both.p if of_both else None,
            p_holm=next(tested) if of_both else None,
            fixed_low=of_fixed.low,
            fixed_high=of_fixed.high,
            fixed_p=of_fixed.p,
            fixed_p_holm=p_holm,
        )
        for values, of_both, of_fixed, p_holm in zip(
            exact, both, fixed, holm([each.p for each in fixed]).tolist(), strict=True
        )
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
