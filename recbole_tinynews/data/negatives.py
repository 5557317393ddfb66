"""Training negatives, from (seed, epoch, sample) only, so that resumed runs agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.impressions import Impressions


def random_bits(seed: int, epoch: int, sample: NDArray, draw: NDArray) -> NDArray[np.uint64]:
    """64-bit numbers for each broadcast (sample, draw); SplitMix64 (Steele, Lea and Flood 2014)."""
    state = _mix(np.full((), seed, dtype=np.int64).astype(np.uint64))
    for part in (np.asarray(epoch), np.asarray(sample), np.asarray(draw)):
        state = _mix(state ^ part.astype(np.int64).astype(np.uint64))
    return state


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):  # arithmetic modulo 2 ** 64
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))


class ImpressionNegatives:
    """Unclicked candidates of the click's impression, without replacement; repeated if too few."""

    def __init__(self, impressions: Impressions, count: int, seed: int) -> None:
        self.impressions, self.count, self.seed = impressions, count, seed

    def draw(self, epoch: int, samples: NDArray, rows: NDArray) -> NDArray[np.int64]:
        """Positions in ``candidates.values``, ``[batch, count]``, for samples from ``rows``."""
        candidates = self.impressions.candidates
        position = candidates.positions(rows)
        batch_row = np.repeat(np.arange(len(rows)), candidates.lengths_of(rows))
        unclicked = self.impressions.labels[position] == 0
        batch_row, position = batch_row[unclicked], position[unclicked]
        place = position - candidates.offsets[rows][batch_row]  # within the impression
        keys = random_bits(self.seed, epoch, np.asarray(samples)[batch_row], place)
        shuffled = position[np.lexsort((keys, batch_row))]  # a random order per sample

        available = np.bincount(batch_row, minlength=len(rows))
        if not available.all():  # would divide by zero, or take another impression's candidate
            raise ValueError(
                "ImpressionNegatives expects impressions with an unclicked candidate, got one "
                f"without, row {rows[available.argmin()]}. Draw for the samples of clicks_of."
            )
        starts = np.cumsum(available) - available
        picks = starts[:, None] + np.arange(self.count) % available[:, None]
        return shuffled[picks]
