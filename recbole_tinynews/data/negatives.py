"""Training negatives, from (seed, epoch, sample) only, so that resumed runs agree.

Candidates of the click's impression or, for title-body matching, wrong titles (of the batch too).
"""

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


class OtherTitles:
    """Titles of other articles, uniform among those that differ from the sample's title.

    ``titles``, ``[articles]``, have equal numbers if equal. Sample ``i`` is article ``i``; its
    ``count`` titles may repeat.
    """

    def __init__(self, titles: NDArray[np.int64], count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.order = np.argsort(titles, kind="stable")
        _, title, sizes = np.unique(titles, return_inverse=True, return_counts=True)
        self.own_start, self.own_size = (np.cumsum(sizes) - sizes)[title], sizes[title]
        self.available = len(titles) - self.own_size

    def draw(self, epoch: int, samples: NDArray) -> NDArray[np.int64]:
        """Article numbers, ``[batch, count]``, none with its sample's title."""
        samples = np.asarray(samples)[:, None]
        available = self.available[samples]
        if not available.all():
            raise ValueError(
                "Title-body matching expects at least 2 different titles, got 1 in "
                f"{len(self.order)} articles. Give another corpus with --post_train_corpus."
            )
        bits = random_bits(self.seed, epoch, samples, np.arange(self.count))
        place = (bits % available.astype(np.uint64)).astype(np.int64)
        place += self.own_size[samples] * (place >= self.own_start[samples])
        return self.order[place]


class BatchTitles:
    """Titles of the batch's other articles; random ones replace equal titles and fill gaps."""

    def __init__(self, titles: NDArray[np.int64], batch_size: int, seed: int) -> None:
        self.titles = titles
        self.any = OtherTitles(titles, batch_size - 1, seed)

    def draw(self, epoch: int, samples: NDArray) -> NDArray[np.int64]:
        """Article numbers, ``[batch, batch_size - 1]``, none with its sample's title."""
        samples = np.asarray(samples)
        drawn = self.any.draw(epoch, samples)
        size = len(samples)
        others = samples[(np.arange(size)[:, None] + np.arange(1, size)) % size]
        wrong = self.titles[others] != self.titles[samples][:, None]
        drawn[:, : size - 1][wrong] = others[wrong]
        return drawn
