"""Counters of what is read now, from events as they arrive."""

from __future__ import annotations

import threading
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import reduce
from itertools import count, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.popularity import HOUR, Counting, SiteTotals, age_hours, visit_features
from recbole_tinynews.serving.events import LATEST, Event, Moment, Refused, Tally, event_of, id_of

if TYPE_CHECKING:
    from recbole_tinynews.serving.store import Store

TIME_BITS = LATEST.bit_length()  # of a key
NEVER = -(1 << 60)  # before all moments
RECENT = 10_000  # tallies added since the others were sorted
AHEAD = 60  # seconds that a client's clock may be ahead
EARLIER = "Expected at from {} UTC seconds on, since older events are summed up, got {}."

Rows = NDArray[np.int64]
"""Tallies, ``[7, tallies]``: article and user as indices, then as in ``Tally``."""

NOTHING = np.empty((len(Tally._fields), 0), np.int64)


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
        sizes = np.cumsum([0, *map(len, candidates)]).tolist()
        features = np.empty((sizes[-1], counting.size), np.float32)
        width = len(counting.names)
        known, published = self._known, self._published
        earliest = known.summed_up + counting.span
        for article, moment, start, stop in zip(
            candidates, moments, sizes[:-1], sizes[1:], strict=True
        ):
            if moment.at < earliest:
                raise ValueError(EARLIER.format(earliest, moment.at))
            rows, own = features[start:stop], self._own(known.parts, moment.user)
            first, counts = self._counts(known.parts, counting, article, moment.at, own)
            times = published[np.minimum(article, len(published) - 1)]
            rows[:, 0] = age_hours(moment.at, first, times)
            rows[:, 1:width] = counts
            totals = width + 2 * len(counting.limited)
            times = np.array([moment.at])
            rows[:, width:totals] = sum(p.site.counts(times, counting) for p in known.parts)
            if counting.reader:
                rows[:, totals] = own.hours_since_visit(moment.at, counting.delay)
            if counting.page:
                index, subscriber = np.array([int(bool(moment.device))]), moment.subscriber
                visit = visit_features(["", moment.device], index, np.array([subscriber]))
                rows[:, totals + 1 :] = visit
        return features

    def clicks(self, user: str, at: int, delay: int, most: int) -> list[str]:
        """Ids of the articles that a user clicked, oldest first, at most the ``most`` newest.

        Each is at the place of its newest click; those since ``delay`` seconds before ``at`` are
        unknown.
        """
        rows, names = self._own(self._known.parts, user).rows, self._names
        known = rows[:, (rows[6] >= 0) & (rows[6] < at - delay)]
        newest: dict[str, int] = {}
        for number, time_of_click in zip(known[0].tolist(), known[6].tolist(), strict=True):
            newest[names[number]] = max(time_of_click, newest.get(names[number], 0))
        return sorted(newest, key=lambda name: (newest[name], name))[-most:]

    def _own(self, parts: Sequence[_Part], user: str) -> _Own:
        number = self._users.get(user, -1) if user else -1
        return _Own(np.concatenate([part.of_user(number) for part in parts], axis=1))

    def _counts(
        self,
        parts: Sequence[_Part],
        counting: Counting,
        article: NDArray[np.int64],
        at: int,
        own: _Own,
    ) -> tuple[NDArray[np.int64], NDArray[np.integer]]:
        """Time of each article's first event, and counters ``[articles, columns]``.

        Others' clicks and exposures, and with ``counting.reader`` the reader's own columns.
        """
        parts = [part for part in parts if part.users.size] or parts[:1]
        first = reduce(np.minimum, (part.first(article) for part in parts))
        counts = reduce(np.add, (part.counts(article, at, counting) for part in parts))
        if not own.rows.size and not counting.reader:
            return first, counts
        apart, hours = own.counters(article, at, counting)
        counts = counts - apart
        return first, np.concatenate([counts, apart, hours], 1) if counting.reader else counts

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
    """Counters of articles and the moments (after, until] for which they hold; thread-safe."""

    def __init__(self, articles: int, counting: Counting) -> None:
        delay, lengths = counting.delay, np.array(counting.lengths)
        self.delay, self.lengths = delay, lengths  # seconds
        self.ends = delay + np.append(0, lengths)  # of windows, seconds ago
        self._lock = threading.Lock()
        # two moments, none at first, and counters, together since each miss of a cache counts
        self._known = np.zeros((articles, 2 + 2 * len(lengths)), np.int64)

    def get(self, row: NDArray[np.int64], at: int) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """Counters of articles, and places of those that do not hold at a moment."""
        with self._lock:
            known = self._known.take(row, axis=0)
        return known[:, 2:], np.flatnonzero((known[:, 0] >= at) | (known[:, 1] < at))

    def put(self, row: NDArray[np.int64], times: NDArray[np.int64], counts: Rows) -> None:
        """Keep counters of articles; ``times`` are ``[articles, 2]``."""
        with self._lock:
            self._known[row] = np.concatenate([times, counts], axis=1)


class _Part(NamedTuple):
    rows: Rows  # by user and article
    users: NDArray[np.int64]
    bounded: NDArray[np.int64]  # keys between the smallest and the largest number
    running: NDArray[np.int64]  # sums of clicks and exposures by key, ``[1 + tallies, 2]``
    firsts: NDArray[np.int64]  # time of each article's first event; last: LATEST, for none
    site: SiteTotals
    counted: dict[Counting, _Counted]

    @classmethod
    def of(cls, rows: Rows) -> _Part:
        keys = (rows[0] << TIME_BITS) + rows[2]
        order = np.argsort(keys, kind="stable")
        least, most = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        bounded = np.concatenate([[least], keys[order], [most]])
        running = np.zeros((1 + len(order), 2), np.int64)
        np.cumsum(rows[3:5, order].T, axis=0, out=running[1:])
        firsts = np.full(int(rows[0].max(initial=-1)) + 2, LATEST)
        firsts[rows[0, order[::-1]]] = rows[2, order[::-1]]
        site = SiteTotals.of(rows[2], rows[3], rows[4])
        rows = rows[:, np.argsort((rows[1] << 32) | rows[0], kind="stable")]
        return cls(rows, rows[1], bounded, running, firsts, site, {})

    def first(self, article: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.firsts[np.minimum(article, len(self.firsts) - 1)]

    def of_user(self, user: int) -> Rows:
        """A user's tallies, by article."""
        start, stop = self.users.searchsorted([user, user + 1])
        return self.rows[:, start:stop]

    def counts(self, article: NDArray[np.int64], at: int, counting: Counting) -> NDArray[np.int64]:
        """Clicks, then exposures in each window, ``[articles, 2 * windows]``.

        Kept until an event enters or leaves one of an article's windows: few do between two
        requests, and looking them up misses the processor's caches.
        """
        row = np.minimum(article, len(self.firsts) - 1)
        if (kept := self.counted.get(counting)) is None:
            kept = self.counted.setdefault(counting, _Counted(len(self.firsts), counting))
        counts, old = kept.get(row, at)
        if old.size:
            row_of_old = row[old] % len(self.firsts)
            times, counts[old] = self._count(row_of_old, at, kept)
            kept.put(row_of_old, times, counts[old])
        return counts

    def _count(self, article: NDArray[np.int64], at: int, kept: _Counted) -> tuple[Rows, Rows]:
        """Moments (after, until] ``[articles, 2]`` of equal counters, and these."""
        key = (article << TIME_BITS)[:, None]
        places = self.bounded[1:-1].searchsorted(key + np.maximum(at - kept.ends, 0))
        before, after = self.bounded.take(places), self.bounded.take(places + 1)
        sums = self.running.take(places, axis=0)
        counts = (sums[:, :1] - sums[:, 1:]).swapaxes(1, 2).reshape(len(article), -1)
        times = np.empty((len(article), 2), np.int64)
        np.where(before >= key, before - key + kept.ends, NEVER).max(axis=1, out=times[:, 0])
        of_article = after >> TIME_BITS == article[:, None]
        np.where(of_article, after - key + kept.ends, -NEVER).min(axis=1, out=times[:, 1])
        return times, counts


class _Own(NamedTuple):
    """What one reader did."""

    rows: Rows  # the reader's tallies

    def counters(
        self, article: NDArray[np.int64], at: int, counting: Counting
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Own clicks, then exposures in each window, ``[articles, 2 * windows]``.

        And hours since the first and the last exposure, ``[articles, 2]``, -1 for none.
        """
        windows, until = np.array(counting.lengths), at - counting.delay
        order = np.argsort(self.rows[0], kind="stable")
        rows = self.rows[:, order]
        starts = np.flatnonzero(np.append(True, rows[0, 1:] != rows[0, :-1])[: rows.shape[1]])
        sums = np.zeros((len(starts) + 1, 2 * len(windows)), np.int64)  # last: other articles
        hours = np.full((len(starts) + 1, 2), -1.0)
        if len(starts):
            ago = until - rows[2]
            within = (ago > 0) & (ago <= windows[:, None])
            tallies = (within * rows[3:5, None]).reshape(-1, rows.shape[1])
            sums[:-1] = np.add.reduceat(tallies, starts, axis=1).T
            shown = rows[4] > 0
            first = np.where(shown & (ago > 0), rows[2], LATEST)
            last = np.where(rows[5] < until, rows[5], np.where(shown & (ago > 0), rows[2], -1))
            first, last = np.minimum.reduceat(first, starts), np.maximum.reduceat(last, starts)
            known = last >= 0
            hours[:-1][known] = (at - np.stack([first, last], axis=1)[known]) / HOUR
        found = np.minimum(np.searchsorted(rows[0, starts], article), max(len(starts) - 1, 0))
        is_own = rows[0, starts][found] == article if len(starts) else np.zeros(len(article), bool)
        place = np.where(is_own, found, len(starts))
        return sums[place], hours[place]

    def hours_since_visit(self, at: int, delay: int) -> float:
        """Hours since the reader was last shown anything, -1 for never."""
        shown = self.rows[5]
        last = shown[shown < at - delay].max(initial=-1)
        return -1.0 if last < 0 else (at - int(last)) / HOUR


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
