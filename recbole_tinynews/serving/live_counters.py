"""Counters of what is read now, from events as they arrive."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import reduce
from itertools import accumulate, count, pairwise, repeat
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.popularity import (
    HOUR,
    LATEST,
    TIME_BITS,
    Counting,
    EventCounts,
    age_hours,
    visit_features,
)
from recbole_tinynews.serving.events import Event, Refused, Tally, event_of, id_of

if TYPE_CHECKING:
    from recbole_tinynews.serving.store import Store

NEVER = -(1 << 60)  # before all moments
RECENT = 10_000  # tallies added since the others were sorted
AHEAD = 60  # seconds that a client's clock may be ahead
EARLIER = "Expected at from {} UTC seconds on, since older events are summed up, got {}."

Rows = NDArray[np.int64]
"""Tallies, ``[7, tallies]``: article and user as indices, then as in ``Tally``."""

NOTHING = np.empty((len(Tally._fields), 0), np.int64)
NOBODY = np.zeros(1, np.int64)  # the only group of a table: all events of it


class Moment(NamedTuple):
    """When an impression is made (UTC seconds), for which user, and on which page, if known.

    ``page`` is the id of the article that the user is reading; ``subscriber`` is NaN if unknown.
    """

    at: int
    user: str = ""
    page: str = ""
    device: str = ""
    subscriber: float = math.nan

    @classmethod
    def of(cls, at: float, **visit: Any) -> Moment:
        """The moment in whole seconds; ``ValueError`` if ``at`` is not UTC seconds.

        ``visit``: the other fields; ``None`` is unknown, and ``TypeError`` of another type.
        """
        if isinstance(at, bool) or not isinstance(at, Real) or not 0 <= at <= LATEST:
            raise ValueError(f"at must be UTC seconds, got {at!r:.100}.")
        known = {name: value for name, value in visit.items() if value is not None}
        for name, value in known.items():
            if name == "subscriber":
                if value not in (False, True) and value == value:  # NaN: unknown
                    raise TypeError(f"subscriber must be True or False, got {value!r:.100}.")
            elif not isinstance(value, str):
                raise TypeError(f"{name} must be a text, got {value!r:.100}. Pass it as str.")
        return cls(math.floor(at), **known)


class Added(NamedTuple):
    """Outcome of a batch of events; ``repeated`` ones had known ids.

    ``held`` ones, over a day after the newest counted one, count once another reader's event within
    an hour of it has come.
    """

    counted: int
    repeated: int
    held: int
    refused: list[Refused]


class LiveCounters:
    """Counts a store's events; thread-safe, and lookups never wait for a commit.

    Counts equal those of ``data.popularity.count_events``. ``catch_up`` adds other processes'
    events; what is older than the longest window of ``counting`` is summed up.
    """

    def __init__(self, store: Store, counting: Iterable[Counting] = ()) -> None:
        self._store = store
        least = Counting().span  # without a limited window an event may be as late
        spans = (each.span if any(each.windows) else max(each.span, least) for each in counting)
        self._span = max(spans, default=least)
        self._articles: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._users: dict[str, int] = {}
        self._published = np.array([np.nan])  # UTC seconds, by article; last: unknown
        self._publishing = threading.Lock()
        self._next = count()  # numbers of articles, some of them unused
        self._known = _Known((_Part.of(NOTHING), _Part.of(NOTHING)), 0, 0)
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
            # a clock that is ahead makes no event too old
            newest, summed_up = self.newest or now, self._known.summed_up
            earliest = max(min(now, newest) - self._span, summed_up)
            latest = min(now + AHEAD, LATEST)
            for place, given in enumerate(events):
                try:
                    good.append(event_of(given, known, earliest, latest))
                except ValueError as mistake:
                    refused.append(Refused(place, id_of(given), str(mistake)))
            counted, held = self._store.add(good, self._span + HOUR, now)
            self._count_new()
        return Added(counted, len(good) - counted - held, held, refused)

    def add_past(self, events: Iterable[Event], if_empty: bool = False) -> int:
        """Add a log, in order of time (``if_empty``: or nothing); the number of new events."""
        with self._changing:
            added = self._store.add(events, self._span + HOUR, if_empty=if_empty)
            self._count_new()
        return added.counted

    def catch_up(self) -> None:
        """Count what was committed since, by other processes too."""
        with self._changing:
            self._count_new()

    def publish(self, times: Mapping[str, float]) -> None:
        """Count ages of these articles from their publication, UTC seconds."""
        if not times:
            return
        numbers = self.numbers([*times])
        with self._publishing:
            size = max(len(self._published), int(numbers.max()) + 2)
            published = np.full(size, np.nan)
            published[: len(self._published)] = self._published
            published[numbers] = [*times.values()]
            self._published = published

    @property
    def newest(self) -> int:
        """Time of the newest counted event, UTC seconds; 0 without events."""
        return self._known.newest

    def earliest(self, counting: Counting) -> int:
        """The earliest moment whose counters are known, UTC seconds."""
        return self._known.summed_up + counting.span

    def numbers(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Numbers of articles for ``features``; they never change."""
        return np.fromiter(map(self._number, ids), np.int64, len(ids))

    def known_numbers(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """``numbers`` of articles that may be unknown: -1, and they stay unknown."""
        return np.fromiter(map(self._articles.get, ids, repeat(-1)), np.int64, len(ids))

    def features(
        self,
        counting: Counting,
        candidates: Sequence[NDArray[np.int64]],
        moments: Sequence[Moment],
    ) -> NDArray[np.float32]:
        """Features ``[candidates, features]``; ``ValueError`` for a moment before ``earliest``.

        ``candidates`` are ``numbers`` or ``known_numbers``.
        """
        bounds = [0, *accumulate(map(len, candidates))]
        features = np.empty((bounds[-1], counting.size), np.float32)
        width = len(counting.names)
        known, published = self._known, self._published
        parts = [part for part in known.parts if part.users.size] or known.parts[:1]
        earliest = known.summed_up + counting.span
        for article, moment, bound in zip(candidates, moments, pairwise(bounds), strict=True):
            if moment.at < earliest:
                raise ValueError(EARLIER.format(earliest, moment.at))
            rows, own = features[slice(*bound)], self._own(parts, moment.user)
            rows[:, 1:width], first = self._counts(parts, counting, article, moment.at, own)
            times = published[np.minimum(article, len(published) - 1)]
            rows[:, 0] = age_hours(moment.at, first, times)
            totals = width + 2 * counting.limited
            ends = counting.limited_ends
            site = (part.site.counts(NOBODY, moment.at, ends) for part in parts)
            rows[:, width:totals] = reduce(np.add, site).T
            if counting.reader:
                shown = own[5]
                last = shown[shown < moment.at - counting.delay].max(initial=-1)
                rows[:, totals] = -1 if last < 0 else (moment.at - last) / HOUR
            if counting.page:
                index, subscriber = np.array([int(bool(moment.device))]), [moment.subscriber]
                visit = visit_features(["", moment.device], index, np.array(subscriber, float))
                rows[:, totals + 1 :] = visit
        return features

    def clicks(self, user: str, at: int, delay: int, most: int) -> list[str]:
        """Ids of the articles that a user clicked, oldest first, at most the ``most`` newest.

        Each is at the place of its newest click; those since ``delay`` seconds before ``at`` are
        unknown.
        """
        rows, names = self._own(self._known.parts, user), self._names
        known = rows[:, (rows[6] >= 0) & (rows[6] < at - delay)]
        newest: dict[str, int] = {}
        for number, time_of_click in zip(known[0].tolist(), known[6].tolist(), strict=True):
            newest[names[number]] = max(time_of_click, newest.get(names[number], 0))
        return sorted(newest, key=lambda name: (newest[name], name))[-most:]

    def _own(self, parts: Sequence[_Part], user: str) -> Rows:
        """A user's tallies, by article and time."""
        number = self._users.get(user, -1) if user else -1
        rows = np.concatenate([part.of_user(number) for part in parts], axis=1)
        return rows[:, np.lexsort((rows[2], rows[0]))]

    def _counts(
        self,
        parts: Sequence[_Part],
        counting: Counting,
        article: NDArray[np.int64],
        at: int,
        own: Rows,
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Counters ``[articles, columns]``, and the time of each article's first event.

        Others' clicks and exposures, and with ``counting.reader`` the reader's own columns.
        """
        rows = [(part, part.row(article)) for part in parts]
        first = reduce(np.minimum, (part.every.first[row] for part, row in rows))
        counts = reduce(np.add, (part.counts(row, at, counting) for part, row in rows))
        if not own.size and not counting.reader:
            return counts, first
        is_new = np.append(True, own[0, 1:] != own[0, :-1])[: own.shape[1]]
        articles, group = own[0, is_new], np.cumsum(is_new) - 1
        found = np.searchsorted(articles, article)
        group_of = np.where(np.append(articles, -2)[found] == article, found, len(articles))
        of_pairs = _counts_of(group, own, len(articles), in_order=True)
        groups = np.arange(len(articles) + 1)
        apart = of_pairs.counts(groups, at, counting.ends).T[group_of]
        if not counting.reader:
            return counts - apart, first
        hours = of_pairs.hours_since(groups, at, counting.delay)[group_of]
        return np.concatenate([counts - apart, apart, hours], axis=1), first

    def _count_new(self) -> None:
        with self._store.tallies(self._seen) as new:
            rows = self._rows(new.tallies)
        parts = old, recent = self._known.parts
        if new.everything:
            parts = _Part.of(_summed_up(rows, new.summed_up)), _Part.of(NOTHING)
        elif rows.size:
            rows = np.concatenate([recent.rows, rows], axis=1)
            if rows.shape[1] > RECENT:
                every = np.concatenate([old.rows, rows], axis=1)
                old, rows = _Part.of(_summed_up(every, new.summed_up)), rows[:, :0]
            parts = old, _Part.of(rows)
        self._seen, self._known = new.sequence, _Known(parts, new.summed_up, new.newest)

    def _rows(self, tallies: Iterable[Tally]) -> Rows:
        users = self._users
        values = (
            value
            for article, user, *numbers in tallies
            for value in (self._number(article), users.setdefault(user, len(users)), *numbers)
        )
        return np.ascontiguousarray(np.fromiter(values, np.int64).reshape(-1, len(NOTHING)).T)

    def _number(self, article: str) -> int:
        """An article's number, without a lock: of two threads, one sets it."""
        number = self._articles.get(article)
        if number is None:
            number = self._articles.setdefault(article, next(self._next))
            self._names[number] = article
        return number


class _Known(NamedTuple):
    parts: tuple[_Part, _Part]  # older tallies, recent ones
    summed_up: int  # UTC seconds: what is older has lost its times
    newest: int  # UTC seconds, of an event


class _Counted:
    """Counters of articles, kept with the moments (after, until] for which they hold; thread-safe.

    Until an event enters or leaves one of an article's windows: few do between two requests, and
    looking them up misses the processor's caches.
    """

    def __init__(self, every: EventCounts, counting: Counting) -> None:
        self._every, self._ends, self._lock = every, counting.ends, threading.Lock()
        # two moments, none at first, and counters, together since each miss of a cache counts
        self._known = np.zeros((len(every.starts), 2 + 2 * len(counting.windows)), np.int64)

    def counts(self, row: NDArray[np.int64], at: int) -> NDArray[np.int64]:
        """Clicks, then exposures of articles in each window, ``[articles, 2 * windows]``."""
        with self._lock:
            known = self._known.take(row, axis=0)
        old = np.flatnonzero((known[:, 0] >= at) | (known[:, 1] < at))
        if old.size:
            known[old] = self._count(row[old], at)
            with self._lock:
                self._known[row[old]] = known[old]
        return known[:, 2:]

    def _count(self, row: NDArray[np.int64], at: int) -> NDArray[np.int64]:
        every, base, ago = self._every, row << TIME_BITS, np.array(self._ends)[:, None]
        places = every.places(row, at, self._ends)
        entered = every.keys.take(places - 1) - base + ago
        entered = np.where(places > every.starts[row], entered, NEVER).max(axis=0)
        following = every.keys.take(places)
        leaves = np.where(following >> TIME_BITS == row, following - base + ago, -NEVER).min(axis=0)
        return np.concatenate([np.stack([entered, leaves]), every.between(places)]).T


class _Part(NamedTuple):
    rows: Rows  # by user
    users: NDArray[np.int64]
    every: EventCounts  # of articles
    site: EventCounts
    counted: dict[Counting, _Counted]

    @classmethod
    def of(cls, rows: Rows) -> _Part:
        every = _counts_of(rows[0], rows, int(rows[0].max(initial=-1)) + 1)
        site = _counts_of(np.zeros_like(rows[0]), rows, 1)
        rows = rows[:, np.argsort(rows[1], kind="stable")]
        return cls(rows, rows[1], every, site, {})

    def row(self, article: NDArray[np.int64]) -> NDArray[np.int64]:
        """Groups of articles; those without events have the last one."""
        last = len(self.every.starts) - 1
        return np.minimum(article, last) % (last + 1)

    def of_user(self, user: int) -> Rows:
        """A user's tallies."""
        start, stop = self.users.searchsorted([user, user + 1])
        return self.rows[:, start:stop]

    def counts(self, row: NDArray[np.int64], at: int, counting: Counting) -> NDArray[np.int64]:
        """``_Counted.counts`` of groups."""
        if (kept := self.counted.get(counting)) is None:
            kept = self.counted.setdefault(counting, _Counted(self.every, counting))
        return kept.counts(row, at)


def _counts_of(
    group: NDArray[np.int64], rows: Rows, groups: int, in_order: bool = False
) -> EventCounts:
    return EventCounts.of(group, rows[2], rows[3], rows[4], groups, rows[5], in_order)


def _summed_up(rows: Rows, before: int) -> Rows:
    """Tallies before a time, one for each article and user, and the others."""
    is_old = rows[2] < before
    old = rows[:, is_old]
    pairs, place = np.unique((old[0] << 32) + old[1], return_inverse=True)
    first = np.full(len(pairs), LATEST)
    np.minimum.at(first, place, old[2])
    sums = [np.bincount(place, weights=old[row], minlength=len(pairs)) for row in (3, 4)]
    latest = np.full((2, len(pairs)), -1)
    for newest, row in zip(latest, (5, 6), strict=True):
        np.maximum.at(newest, place, old[row])
    summed = np.stack([pairs >> 32, pairs & 0xFFFFFFFF, first, *sums, *latest]).astype(np.int64)
    return np.concatenate([summed, rows[:, ~is_old]], axis=1)
