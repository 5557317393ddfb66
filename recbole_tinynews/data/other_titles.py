"""Wrong titles for title-body matching; draws depend on (seed, epoch, sample) and the batch."""

from __future__ import annotations

from logging import getLogger
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.negatives import random_bits

NO_CATEGORY = ""


class WrongTitles(Protocol):
    """Draws wrong titles of bodies."""

    def draw(self, epoch: int, samples: NDArray) -> NDArray[np.int64]:
        """Article numbers, ``[batch, count]``, none with its sample's title."""


class OtherTitles:
    """Titles of other articles, uniform among those that differ from the sample's title.

    ``titles``, ``[articles]``, have equal numbers if equal; ``groups``, ``[articles]``, limits the
    draws to the sample's group. Sample ``i`` is article ``i``; its ``count`` titles may repeat.
    """

    def __init__(
        self,
        titles: NDArray[np.int64],
        count: int,
        seed: int,
        groups: NDArray[np.int64] | None = None,
    ) -> None:
        self.count, self.seed = count, seed
        groups = np.zeros_like(titles) if groups is None else groups
        self.order = np.lexsort((titles, groups))
        self.group_start, size = _runs(self.order, groups)
        self.own_start, self.own_size = _runs(self.order, groups, titles)
        self.available = size - self.own_size

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
        place = self.group_start[samples] + (bits % available.astype(np.uint64)).astype(np.int64)
        place += self.own_size[samples] * (place >= self.own_start[samples])
        return self.order[place]


class CategoryTitles:
    """``OtherTitles`` of the same category; any if it is unknown or has too few others."""

    def __init__(
        self, titles: NDArray[np.int64], categories: NDArray[np.str_], count: int, seed: int
    ) -> None:
        known = categories != NO_CATEGORY
        if not known.any():
            raise ValueError(
                "negative_titles=category expects articles with a category, got "
                f"{len(categories)} without. Fill the column category of the data set's news, or "
                "set negative_titles to random, in_batch or hard."
            )
        _, groups = np.unique(categories, return_inverse=True)
        self.any = OtherTitles(titles, count, seed)
        self.of_category = OtherTitles(titles, count, seed, groups)
        self.enough = known & (self.of_category.available >= count)
        if not self.enough.all():
            getLogger().info(
                f"{np.count_nonzero(~self.enough)} of {len(titles)} articles have fewer than "
                f"{count} others of their category, and are matched against titles of any."
            )

    def draw(self, epoch: int, samples: NDArray) -> NDArray[np.int64]:
        """Article numbers, ``[batch, count]``, none with its sample's title."""
        samples = np.asarray(samples)
        drawn = self.any.draw(epoch, samples)
        enough = self.enough[samples]
        drawn[enough] = self.of_category.draw(epoch, samples[enough])
        return drawn


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


def _runs(order: NDArray, *keys: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and length of each article's run of equal keys."""
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    starts = np.flatnonzero(begins)
    run = np.empty(len(order), dtype=np.int64)
    run[order] = np.cumsum(begins) - 1
    return starts[run], np.diff(starts, append=len(order))[run]
