"""Causal popularity: how often each candidate was clicked and exposed before its impression.

An event is one candidate of one impression, at the impression's time. For an impression of user u
at t, with delay d, the counters of a window W are the clicks and exposures of an article by users
other than u in ``[t - d - W, t - d)``. Nothing at or after ``t - d`` changes them, so impressions
of one second never see each other. Both counters see the impressions of the data set, which for
public data sets is a sample of a site's users.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.impressions import Impressions

HOUR = 3600  # seconds
BLOCK = 2_000_000  # candidates that are sorted at once: about 0.4 GB


class Popularity(NamedTuple):
    """Counters of the candidates of impressions, in the order of ``candidates.values``.

    Shapes:
        clicks, exposures: ``[candidates, windows]``, uint32.
        age: ``[candidates]``, float32 hours since publication, or since the first exposure.
    """

    clicks: NDArray[np.uint32]
    exposures: NDArray[np.uint32]
    age: NDArray[np.float32]

    @classmethod
    def empty(cls, candidates: int, windows: int) -> Popularity:
        """Arrays for so many candidates and windows, to be filled by ``count_events``."""
        return cls(
            np.zeros((candidates, windows), np.uint32),
            np.zeros((candidates, windows), np.uint32),
            np.zeros(candidates, np.float32),
        )


def count_events(
    impressions: Impressions,
    windows: Sequence[int | None],
    delay: int = 0,
    counted: int | None = None,
    published: NDArray[np.floating] | None = None,
    out: Popularity | None = None,
    block: int = BLOCK,
) -> Popularity:
    """The counters of every candidate of all impressions.

    Articles are independent of each other, so they are processed in blocks: within one, events are
    sorted by article and time, running sums of exposures and clicks are looked up at both ends of
    each window, and what a user saw of the same article before is subtracted.

    Args:
        impressions: of all splits together, in any order of time.
        windows: lengths in seconds; None counts from the beginning of the log.
        delay: seconds until an event is known.
        counted: only the first so many impressions are events (the training split); None: all.
        published: ``[articles]``, UTC seconds by news id, NaN where unknown. There, and by default,
            an article's age counts from its first exposure, anyone's and without the delay.
        out: arrays to fill, for instance memory-mapped ones.
        block: candidates to process at once.
    """
    articles, offsets = impressions.candidates
    out = out or Popularity.empty(len(articles), len(windows))
    if not len(articles):
        return out
    origin = int(impressions.timestamp.min())
    for low, high in _blocks(np.bincount(articles), block):
        places = np.flatnonzero((articles >= low) & (articles < high))
        if not len(places):
            continue
        rows = np.searchsorted(offsets, places, side="right") - 1
        time = impressions.timestamp[rows] - origin
        article = articles[places].astype(np.int64) - low
        exposed = np.ones(len(rows), bool) if counted is None else rows < counted
        clicked = exposed & (impressions.labels[places] == 1)
        events = _Events(time, exposed, clicked, windows, delay)
        of_all = events.count(article)
        pairs = article * (int(impressions.user.max()) + 1) + impressions.user[rows]
        repeated = _repeated(pairs)
        own = events.take(repeated).count(np.unique(pairs[repeated], return_inverse=True)[1])
        for counters, counts, own_counts in zip(out[:2], of_all, own, strict=True):
            counts[repeated] -= own_counts
            counters[places] = counts
        out.age[places] = (time - _first(article, time)) / HOUR
        if published is not None:
            since = (impressions.timestamp[rows] - published[articles[places]]) / HOUR
            known = ~np.isnan(since)
            out.age[places[known]] = np.maximum(since[known], 0)
    return out


def refuse_without_times(impressions: Impressions, split: str) -> None:
    """Refuse a split whose impressions have no usable times.

    Raises:
        ValueError: half of them or more share one time, as where the time of day is unknown.
    """
    times, counts = np.unique(impressions.timestamp, return_counts=True)
    if impressions.rows > 1 and 2 * counts.max() >= impressions.rows:
        moment = np.datetime64(int(times[counts.argmax()]), "s")
        raise ValueError(
            f"Popularity expects the time of each impression, but {counts.max()} of "
            f"{impressions.rows} {split} impressions have the same one, {moment} UTC. Their "
            "order is unknown, so nothing can be counted before each of them. Use a split with "
            "times of day, or a recommender without popularity."
        )


class _Events(NamedTuple):
    """Events of one block, ``[events]`` each, and what is counted of them."""

    time: NDArray[np.int64]
    exposed: NDArray[np.bool_]
    clicked: NDArray[np.bool_]
    windows: Sequence[int | None]
    delay: int

    def take(self, places: NDArray) -> _Events:
        return self._replace(
            time=self.time[places], exposed=self.exposed[places], clicked=self.clicked[places]
        )

    def count(self, group: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
        """Clicks and exposures of the same group before each event, ``[events, windows]`` each."""
        span = int(self.time.max(initial=0)) + 1
        keys = group * span + self.time
        order = _order(keys)
        keys, time = keys[order], self.time[order]
        begin, known = keys - time, time - self.delay
        ends = np.searchsorted(keys, begin + np.maximum(known, 0))
        starts = [
            np.searchsorted(keys, begin + (0 if window is None else np.maximum(known - window, 0)))
            for window in self.windows
        ]
        return self._between(self.clicked, order, starts, ends), self._between(
            self.exposed, order, starts, ends
        )

    def _between(
        self, events: NDArray[np.bool_], order: NDArray, starts: list[NDArray], ends: NDArray
    ) -> NDArray[np.uint32]:
        """How many of these events lie between two places of the order, ``[events, windows]``."""
        running = np.zeros(len(order) + 1, np.int64)
        np.cumsum(events[order], out=running[1:])
        until = running[ends]
        counts = np.empty((len(order), len(starts)), np.uint32)
        counts[order] = np.stack([until - running[start] for start in starts], axis=1)
        return counts


def _blocks(events: NDArray[np.int64], block: int) -> Iterator[tuple[int, int]]:
    """Ranges of articles with at most ``block`` events each; an article is never divided."""
    low, total = 0, 0
    for article, count in enumerate(events.tolist()):
        if total and total + count > block:
            yield low, article
            low, total = article, 0
        total += count
    yield low, len(events)


def _repeated(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of the keys that occur more than once."""
    order = _order(keys)
    same = keys[order[1:]] == keys[order[:-1]]
    return order[np.append(same, False) | np.append(False, same)]


def _first(group: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64]:
    """The earliest time of each event's group, ``[events]``."""
    earliest = np.full(int(group.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(earliest, group, time)
    return earliest[group]


def _order(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """What ``np.argsort(keys, kind="stable")`` gives, for keys that are not negative.

    Keys and their places are sorted as one number where they fit into it, which numpy does about
    eight times as fast.
    """
    bits = len(keys).bit_length()
    if int(keys.max(initial=0)).bit_length() + bits > 63:
        return np.argsort(keys, kind="stable")
    packed = keys << bits
    packed |= np.arange(len(keys))
    packed.sort()
    packed &= (1 << bits) - 1
    return packed
