"""Counters of what is read now, from events as they arrive."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.popularity import HOUR, Counting, age_hours
from recbole_tinynews.serving.events import Event, Refused, Tally, event_of, id_of

if TYPE_CHECKING:
    from recbole_tinynews.serving.store import Store

TIME_BITS = 34  # of a key: UTC seconds up to the year 2514
LATEST = (1 << TIME_BITS) - 1
RECENT = 10_000  # tallies added since the others were sorted
AHEAD = 60  # seconds that a client's clock may be ahead
EARLIER = "Expected at from {} UTC seconds on, since older events are summed up, got {}."

Rows = NDArray[np.int64]
"""Tallies, ``[5, tallies]``: article and user as indices, time, clicks, exposures."""


class Moment(NamedTuple):
    """When an impression is made (UTC seconds), and for which user, if known."""

    at: int
    user: str = ""

    @classmethod
    def of(cls, at: float, user: str | None) -> Moment:
        """The moment in whole seconds; ``ValueError`` if ``at`` is not UTC seconds."""
        if isinstance(at, bool) or not isinstance(at, (int, float)) or not 0 <= at <= LATEST:
            raise ValueError(f"at expects UTC seconds, got {at!r:.100}.")
        return cls(math.floor(at), user or "")


class Added(NamedTuple):
    """Outcome of a batch of events; ``repeated`` ones had known ids."""

    counted: int
    repeated: int
    refused: list[Refused]


class LiveCounters:
    """Counts a store's events; thread-safe, and lookups never wait for a commit.

    Counts equal those of ``data.popularity.count_events``. ``catch_up`` adds other processes'
    events; what is older than the longest window of ``counting`` is summed up.
    """

    def __init__(self, store: Store, counting: Iterable[Counting] = ()) -> None:
        self._store = store
        self._span = max((each.span for each in counting), default=Counting().span)
        self._articles: dict[str, int] = {}
        self._users: dict[str, int] = {}
        self._published: Mapping[str, float] = {}
        self._changing = threading.Lock()
        self._seen = -1  # sequence number of the newest event that is counted
        self.catch_up()

    def add(
        self,
        events: Iterable[Any],
        known: Container[str] | None = None,
        now: float | None = None,
    ) -> Added:
        """Commit and count events; bad, future and too old ones are refused one by one."""
        now = time.time() if now is None else now
        good: list[Event] = []
        refused: list[Refused] = []
        with self._changing:
            earliest = max(now - self._span, self._summed_up)
            for place, given in enumerate(events):
                try:
                    good.append(event_of(given, known, earliest, now + AHEAD))
                except ValueError as mistake:
                    refused.append(Refused(place, id_of(given), str(mistake)))
            counted = self._store.add(good, self._span + HOUR, now)
            self._count_new()
        return Added(counted, len(good) - counted, refused)

    def add_past(self, events: Iterable[Event], if_empty: bool = False) -> int:
        """Add a log, in order of time (``if_empty``: or nothing); the number of new events."""
        with self._changing:
            counted = self._store.add(events, self._span + HOUR, if_empty=if_empty)
            self._count_new()
        return counted

    def catch_up(self) -> None:
        """Count what was committed since, by other processes too."""
        with self._changing:
            self._count_new()

    def publish(self, times: Mapping[str, float]) -> None:
        """Count ages of these articles from their publication, UTC seconds."""
        self._published = {**self._published, **times}

    @property
    def newest(self) -> int:
        """Time of the newest event, UTC seconds; 0 without events."""
        return max(int(part.tallies.rows[2].max(initial=0)) for part in self._parts)

    def earliest(self, counting: Counting) -> int:
        """The earliest moment whose counters are known, UTC seconds."""
        return self._summed_up + counting.span

    def features(
        self,
        counting: Counting,
        candidates: Sequence[Sequence[str]],
        moments: Sequence[Moment],
    ) -> NDArray[np.float32]:
        """Features ``[candidates, features]``; ``ValueError`` for a moment before ``earliest``."""
        sizes = np.cumsum([0, *map(len, candidates)]).tolist()
        features = np.empty((sizes[-1], len(counting.names)), np.float32)
        for names, moment, start, stop in zip(
            candidates, moments, sizes[:-1], sizes[1:], strict=True
        ):
            if moment.at < (earliest := self.earliest(counting)):
                raise ValueError(EARLIER.format(earliest, moment.at))
            first, counts = self._counts(counting, names, moment)
            published = None
            if self._published:
                published = np.array([self._published.get(name, np.nan) for name in names])
            features[start:stop, 0] = age_hours(moment.at, first, published)
            features[start:stop, 1:] = counts
        return features

    def _counts(
        self, counting: Counting, names: Sequence[str], moment: Moment
    ) -> tuple[NDArray[np.int64], NDArray[np.integer]]:
        """Time of each article's first event, and counters ``[names, 2 * windows]``."""
        snapshot, known = self._parts, self._articles
        article = np.fromiter([known.get(name, -1) for name in names], np.int64, len(names))
        parts = [part for part in snapshot if part.users.size] or snapshot[:1]
        first = np.min([part.first(article) for part in parts], axis=0)
        counts = np.sum([part.counts(article, moment.at, counting) for part in parts], axis=0)
        user = self._users.get(moment.user, -1) if moment.user else -1
        rows = [part.of_user(user) for part in parts] if user >= 0 else []
        if any(each.size for each in rows):
            own = _Sorted.of(np.concatenate(rows, axis=1))
            clicked = np.zeros(len(known) + 1, bool)
            clicked[own.rows[0]] = True
            here = np.flatnonzero(clicked[article])
            edges = _edges(article[here], moment.at, counting)
            counts[here] -= own.between(np.searchsorted(own.keys, edges))
        return first, counts

    def _count_new(self) -> None:
        with self._store.tallies(self._seen) as new:
            rows = self._rows(new.tallies)
        if new.everything:
            rows = _summed_up(rows, new.summed_up)
            self._parts = _Part.of(rows), _Part.of(rows[:, :0])  # older ones, recent ones
        elif rows.size:
            old, recent = self._parts
            rows = np.concatenate([recent.tallies.rows, rows], axis=1)
            if rows.shape[1] > RECENT:
                every = np.concatenate([old.tallies.rows, rows], axis=1)
                old, rows = _Part.of(_summed_up(every, new.summed_up)), rows[:, :0]
            self._parts = old, _Part.of(rows)
        self._seen, self._summed_up = new.sequence, new.summed_up

    def _rows(self, tallies: Iterable[Tally]) -> Rows:
        articles, users = self._articles, self._users
        values = (
            value
            for article, user, *numbers in tallies
            for value in (
                articles.setdefault(article, len(articles)),
                users.setdefault(user, len(users)),
                *numbers,
            )
        )
        return np.ascontiguousarray(np.fromiter(values, np.int64).reshape(-1, 5).T)


def _edges(article: NDArray[np.int64], at: int, counting: Counting) -> NDArray[np.int64]:
    """Keys at which the windows end and begin, ``[1 + windows, articles]``."""
    known = at - counting.delay
    edges = [known, *(known - length for length in counting.lengths)]
    return (article << TIME_BITS) + np.maximum(np.array(edges)[:, None], 0)


class _Sorted(NamedTuple):
    rows: Rows
    bounded: NDArray[np.int64]  # keys between the smallest and the largest number
    running: NDArray[np.int64]  # sums of clicks and exposures

    @classmethod
    def of(cls, rows: Rows) -> _Sorted:
        keys = (rows[0] << TIME_BITS) + rows[2]
        order = np.argsort(keys, kind="stable")
        rows = rows[:, order]
        running = np.zeros((2, 1 + len(order)), np.int64)
        np.cumsum(rows[3:], axis=1, out=running[:, 1:])
        least, most = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        return cls(rows, np.concatenate([[least], keys[order], [most]]), running)

    @property
    def keys(self) -> NDArray[np.int64]:
        return self.bounded[1:-1]

    def between(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Clicks, then exposures of each window, ``[1 + windows, n] -> [n, 2 * windows]``."""
        sums = self.running.take(places, axis=1)
        return (sums[:, :1] - sums[:, 1:]).reshape(2 * len(places) - 2, places.shape[1]).T


class _Part(NamedTuple):
    tallies: _Sorted
    firsts: NDArray[np.int64]  # time of each article's first event; last: LATEST, for none
    by_user: NDArray[np.int64]
    users: NDArray[np.int64]
    places: dict[Counting, NDArray[np.int64]]  # of the last edges, ``[1 + windows, articles]``

    @classmethod
    def of(cls, rows: Rows) -> _Part:
        tallies = _Sorted.of(rows)
        article, user, time, *_ = tallies.rows
        firsts = np.full(int(article.max(initial=-1)) + 2, LATEST)
        firsts[article[::-1]] = time[::-1]
        by_user = np.argsort(user, kind="stable")
        return cls(tallies, firsts, by_user, user[by_user], {})

    def first(self, article: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.firsts[np.minimum(article, len(self.firsts) - 1)]

    def of_user(self, user: int) -> Rows:
        start, stop = np.searchsorted(self.users, [user, user + 1])
        return self.tallies.rows[:, self.by_user[start:stop]]

    def counts(self, article: NDArray[np.int64], at: int, counting: Counting) -> NDArray[np.int64]:
        """Clicks, then exposures in each window, ``[articles, 2 * windows]``.

        Between two requests few edges pass an event, so the places that the last request found are
        tried first: a search misses the processor's caches.
        """
        edges = _edges(article, at, counting)
        if (last := self.places.get(counting)) is None:
            last = np.zeros((len(edges), len(self.firsts)), np.int64)
            self.places[counting] = last
        row, bounded = np.minimum(article, len(self.firsts) - 1), self.tallies.bounded
        places = last[:, row]
        moved = (bounded[places] >= edges) | (bounded[places + 1] < edges)
        if moved.any():
            places[moved] = np.searchsorted(self.tallies.keys, edges[moved])
            last[:, row] = places
        return self.tallies.between(places)


def _summed_up(rows: Rows, before: int) -> Rows:
    """Tallies before a time, one for each article and user, and the others."""
    is_old = rows[2] < before
    old = rows[:, is_old]
    pairs, place = np.unique((old[0] << 32) + old[1], return_inverse=True)
    first = np.full(len(pairs), LATEST)
    np.minimum.at(first, place, old[2])
    sums = [np.bincount(place, weights=old[row], minlength=len(pairs)) for row in (3, 4)]
    summed = np.stack([pairs >> 32, pairs & 0xFFFFFFFF, first, *sums]).astype(np.int64)
    return np.concatenate([summed, rows[:, ~is_old]], axis=1)
