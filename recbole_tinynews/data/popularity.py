"""Causal popularity: clicks and exposures of each candidate before its impression.

An event is a candidate of an impression, at its time. For an impression of user u at t, with delay
d, counters of a window W are the clicks and exposures of an article by other users in
``[t - d - W, t - d)``, so impressions of one second never see each other. What is true of the
moment t itself, whichever articles are ranked, are the clicks and exposures of the whole site in
the limited windows. What the reader did themselves (``reader``) stands apart: their own clicks and
exposures of a candidate in the same windows, and how long ago they first and last saw it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recbole_tinynews.data.impressions import CandidateFeatures, Impressions
from recbole_tinynews.files.array_cache import cached_table, content_key
from recbole_tinynews.files.columns import DEVICE, SUBSCRIBER
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.settings.table import FINETUNE_TEACHER

CACHE_FORMAT = "popularity 4"  # raise it when the meaning of the cached arrays changes
TIME_BITS = 34  # of a key: UTC seconds up to the year 2514
LATEST = (1 << TIME_BITS) - 1  # the last second that can be counted
END = np.iinfo(np.int64).max  # after all keys
FOREVER = 1 << 40  # seconds: longer than any log
HOUR = 3600  # seconds
DEVICES = 8  # columns that names of devices are hashed to
# candidates counted at once: few fit the processor's caches, but each block reads all articles
SMALLEST, LARGEST, BLOCKS = 500_000, 1_500_000, 32  # the largest take about 0.3 GB


def uses_popularity(config: Settings) -> bool:
    """Whether scores of a stage with these settings use counters."""
    return config["popularity"] not in (None, "none")


@dataclass(frozen=True)
class Counting:
    """Windows (hours; None: all), delay (seconds), and what is counted.

    ``stream``: test events count too, if live; ``reader``: the reader's own events stand apart;
    ``page``: so does what is known of the page and the visit.
    """

    windows: tuple[float | None, ...] = (3, 24, None)
    delay: int = 0
    stream: bool = True
    reader: bool = False
    page: bool = False

    @classmethod
    def of(cls, config: Settings | Mapping[str, Any]) -> Counting:
        """The counters that these settings select."""
        windows = tuple(config["popularity_windows"])
        stream, reader, page = (
            config["popularity_from"] == "stream",
            config["reader"] == "added",
            config["context"] == "added",
        )
        return cls(windows, config["popularity_delay"], stream, reader, page)

    @cached_property
    def span(self) -> int:
        """Seconds after which an event counts in no limited window."""
        return round(max((hours or 0 for hours in self.windows), default=0) * HOUR) + self.delay

    @cached_property
    def ends(self) -> list[int]:
        """Seconds ago: the end of all windows, then the start of each."""
        lengths = (FOREVER if hours is None else round(hours * HOUR) for hours in self.windows)
        return [self.delay, *(self.delay + length for length in lengths)]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Features of a candidate: hours of age, then clicks, then exposures by window.

        With ``reader`` then the reader's own, and hours since they first and last saw it (-1:
        never).
        """
        spans = ["ever" if window is None else f"{window:g}h" for window in self.windows]
        counters = [f"{kind}_{span}" for kind in ("clicks", "exposures") for span in spans]
        own = [f"own_{name}" for name in counters] + ["hours_since_first", "hours_since_last"]
        return ("age_hours", *counters, *(own if self.reader else ()))

    @cached_property
    def limited_ends(self) -> list[int]:
        """``ends`` of the limited windows: those that site totals are counted in.

        The total of all time grows with a site's age, so what is fitted to it does not last.
        """
        return [ago for ago in self.ends if ago < FOREVER]

    @cached_property
    def limited(self) -> int:
        """Number of limited windows."""
        return len(self.limited_ends) - 1

    @cached_property
    def size(self) -> int:
        """Number of features of a candidate and of its moment."""
        return len(self.names) + 2 * self.limited + self.reader + len(self.context)

    @cached_property
    def context(self) -> tuple[str, ...]:
        """Features of a visit: the device, one of ``DEVICES`` columns, and the subscription."""
        return (*(f"device {row}" for row in range(DEVICES)), "subscriber") if self.page else ()


def wanted_counters(config: Settings) -> Counting | None:
    """Counters of a stage or its teachers, if any; ``ValueError`` if they differ."""
    of_both = config, config.for_stage(FINETUNE_TEACHER)
    used = [each for each in of_both if uses_popularity(each)]
    countings = [Counting.of(each) for each in used]
    if len(set(countings)) > 1:
        raise ValueError(
            "Teachers and student read the same counters, and expect equal popularity_windows, "
            f"popularity_delay and popularity_from, got {countings[1]} and {countings[0]}. Set "
            f"those of the teachers, for instance {FINETUNE_TEACHER}_popularity_windows"
        )
    return countings[0] if countings else None


def popularity_features(
    log: Impressions,
    counting: Counting,
    training: int,
    published: NDArray[np.floating] | None = None,
    cache: tuple[Path, str] | None = None,
    devices: Sequence[str] = (),
) -> CandidateFeatures:
    """Age and counters of every candidate of a log, memory-mapped from a cache, and of moments.

    The first ``training`` impressions are those of training; ``cache`` is a folder and a digest;
    ``devices`` are the names of the indices in the column of devices.
    """
    counted = log.rows if counting.stream else training
    shape = len(log.candidates.values), len(counting.names)
    count = partial(count_events, log, counting, counted, published)
    if cache is None:
        values = count(np.zeros(shape, np.float32))
    else:
        key = content_key([CACHE_FORMAT, cache[1], repr(counting)])
        values = cached_table(cache[0], "popularity", key, shape, np.float32, count)
    moments = moment_features(log, counting, counted)
    if counting.reader:
        user, time = log.user.astype(np.int64), log.timestamp - log.timestamp.min(initial=0)
        events = time[:counted], np.zeros(counted, int), np.ones(counted, int)
        of_users = EventCounts.of(user[:counted], *events, groups=int(user.max(initial=0)) + 1)
        since_last_visit = of_users.hours_since(user, time, counting.delay)[:, 1:]
        moments = np.concatenate([moments, since_last_visit.astype(np.float32)], axis=1)
    if counting.page:
        visits = visit_features(devices, log.columns[DEVICE], log.columns[SUBSCRIBER])
        moments = np.concatenate([moments, visits], axis=1)
    return CandidateFeatures(counting.names, values, moments)


def count_events(
    log: Impressions,
    counting: Counting,
    counted: int | None = None,
    published: NDArray[np.floating] | None = None,
    out: NDArray[np.float32] | None = None,
    block: int | None = None,
) -> NDArray[np.float32]:
    """Features (``Counting.names``) of every candidate in the order of ``candidates.values``.

    Blocks of articles are independent: sort events by article and time, look up running sums at
    both ends of each window, subtract what the same user saw. The first ``counted`` impressions are
    events (None: all). ``published``, ``[articles]``, are UTC seconds; where NaN, and by default,
    age counts from the first exposure to anyone, without the delay. ``out``, ``[candidates,
    features]``, are zeros to fill; ``block`` is the number of candidates processed at once (None:
    one that suits the log).
    """
    articles = log.candidates.values
    if out is None:
        out = np.zeros((len(articles), len(counting.names)), np.float32)
    if not len(articles):
        return out
    block = block or min(max(len(articles) // BLOCKS, SMALLEST), LARGEST)
    scattered = _ScatteredRows(out, block)
    origin, users = log.timestamp.min(), int(log.user.max()) + 1
    time = log.timestamp - origin
    row_of = np.repeat(np.arange(log.rows, dtype=np.int32), log.candidates.lengths)
    place_in_time = None  # of impressions that are not in order of time
    if (time[1:] < time[:-1]).any():
        place_in_time = np.empty(log.rows, np.int32)
        place_in_time[np.argsort(time, kind="stable")] = np.arange(log.rows)
    for low, high in _blocks(np.bincount(articles), block):
        places = np.flatnonzero((articles >= low) & (articles < high))
        if not len(places):
            continue
        if place_in_time is not None:
            places = places[_grouped(place_in_time[row_of[places]], log.rows)]
        places = places[_grouped(articles[places] - low, high - low)]
        rows = row_of[places]
        article, moment, user = articles[places] - low, time[rows], log.user[rows]
        exposed = np.ones(len(rows), bool) if counted is None else rows < counted
        events = moment, exposed & (log.labels[places] == 1), exposed
        every = EventCounts.of(article, *events, high - low, in_order=True)
        features = np.zeros((len(places), out.shape[1]), np.float32)
        times = None if published is None else published[articles[places]] - origin
        features[:, 0] = age_hours(moment, every.first[article], times)
        for column, counts in enumerate(every.counts(article, moment, counting.ends), 1):
            features[:, column] = counts
        _set_apart(features, article, user, events, users, counting)
        scattered.put(places, features)
    scattered.sort()
    return out


class _ScatteredRows:
    """Rows of a table that come in any order, kept together by part of the table until sorted.

    Put into their places at once, each block would have all pages of a file written.
    """

    def __init__(self, table: NDArray[np.float32], size: int) -> None:
        self._table, self._size, self._next = table, size, np.arange(0, len(table), size)
        self._place = np.empty(len(table), np.min_scalar_type(len(table)))

    def put(self, places: NDArray[np.integer], rows: NDArray[np.float32]) -> None:
        part = places // self._size
        ends = np.cumsum(np.bincount(part, minlength=len(self._next)))
        for number, chosen in enumerate(np.split(_grouped(part, len(ends)), ends[:-1])):
            at = slice(self._next[number], self._next[number] + len(chosen))
            self._table[at], self._place[at] = rows[chosen], places[chosen]
            self._next[number] = at.stop

    def sort(self) -> None:
        for start in range(0, len(self._table), self._size):
            part = slice(start, start + self._size)
            rows = np.empty_like(self._table[part])
            rows[self._place[part] - start] = self._table[part]
            self._table[part] = rows


def _set_apart(
    features: NDArray[np.float32],
    article: NDArray[np.integer],
    user: NDArray[np.integer],
    events: tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]],
    users: int,
    counting: Counting,
) -> None:
    """Take the reader's own events out of the counters, and put them into columns of their own."""
    width = 1 + 2 * len(counting.windows)
    if counting.reader:
        features[:, -2:] = -1
    rows, pair = _repeated(article, user, users)
    time, clicked, exposed = events[0][rows], events[1][rows], events[2][rows]
    own = EventCounts.of(pair, time, clicked, exposed, pair.max(initial=-1) + 1, in_order=True)
    counts = own.counts(pair, time, counting.ends)
    some = np.flatnonzero(counts.any(axis=0))
    of_pairs = rows[some]
    for column, values in enumerate(counts[:, some], 1):
        features[of_pairs, column] -= values
        if counting.reader:
            features[of_pairs, column + width - 1] = values
    if counting.reader:
        features[rows, -2:] = own.hours_since(pair, time, counting.delay)


def age_hours(
    time: NDArray[np.int64] | int,
    first: NDArray[np.int64],
    published: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Hours since publication or, where that is unknown (NaN), since the first exposure."""
    age = np.maximum(time - first, 0)
    if published is not None:
        since = time - published
        age = np.where(np.isnan(since), age, np.maximum(since, 0))
    return age / HOUR


class EventCounts(NamedTuple):
    """Events of groups, such as articles, to be counted at any times; the last group has none.

    An event of a live service may stand for several of one reader, from the first one's time on.
    """

    keys: NDArray[np.int64]  # [events + 1], ascending: the group, the time in TIME_BITS; END
    starts: NDArray[np.int64]  # [groups], places of their first events
    first: NDArray[np.int64]  # [groups], times of these; LATEST: none
    running: NDArray[np.int32]  # [2, 1 + events], clicks and exposures before each event
    shown: NDArray[np.int64] | None  # [events + 1], times of last exposures; None: of the events

    @classmethod
    def of(
        cls,
        group: NDArray[np.integer],
        time: NDArray[np.int64],
        clicks: NDArray[Any],
        exposures: NDArray[Any],
        groups: int,
        shown: NDArray[np.int64] | None = None,
        in_order: bool = False,
    ) -> EventCounts:
        """Of events; ``in_order``: by group and time. ``shown`` is ``time`` by default."""
        keys = np.full(len(group) + 1, END)
        np.left_shift(group, TIME_BITS, out=keys[:-1], dtype=np.int64)
        keys[:-1] += time
        if not in_order:
            order = np.argsort(keys[:-1], kind="stable")
            keys[:-1], clicks, exposures = keys[order], clicks[order], exposures[order]
            shown = None if shown is None else shown[order]
        running = np.zeros((2, len(keys)), np.int32)
        np.cumsum(clicks, out=running[0, 1:])
        np.cumsum(exposures, out=running[1, 1:])
        sizes = np.bincount(group, minlength=groups + 1)
        starts = np.cumsum(sizes) - sizes
        first = np.where(sizes, keys[starts] & LATEST, LATEST)
        return cls(keys, starts, first, running, None if shown is None else np.append(shown, -1))

    def places(
        self, group: NDArray[np.integer], at: NDArray[np.int64] | int, ends: Sequence[int]
    ) -> NDArray[np.int64]:
        """How many events come before ``at`` minus each of ``ends``, ``[ends, asked]``."""
        limited = [ago for ago in ends if ago < FOREVER]  # they come first
        places = np.empty((len(ends), len(group)), int)
        keys = (group.astype(np.int64) << TIME_BITS) + np.maximum(at - np.array([limited]).T, 0)
        places[: len(limited)] = self.keys.searchsorted(keys)
        places[len(limited) :] = self.starts.take(group)
        return places

    def between(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        """Clicks, then exposures between the first places and others, ``[2 * others, asked]``."""
        sums = self.running.take(places, axis=1)
        return (sums[:, :1] - sums[:, 1:]).reshape(2 * len(places) - 2, len(places[0]))

    def counts(
        self, group: NDArray[np.integer], at: NDArray[np.int64] | int, ends: Sequence[int]
    ) -> NDArray[np.int32]:
        """Clicks, then exposures of groups in each window, ``[2 * windows, asked]``."""
        return self.between(self.places(group, at, ends))

    def hours_since(
        self, group: NDArray[np.integer], at: NDArray[np.int64] | int, delay: int
    ) -> NDArray[np.float64]:
        """Hours since the first and the last exposure of groups, ``[asked, 2]``.

        Those from ``delay`` seconds before ``at`` on are unknown; -1: there is none.
        """
        base, until = group.astype(np.int64) << TIME_BITS, at - delay
        exposed = np.append(self.running[1, 1:] > self.running[1, :-1], True)
        keys = self.keys[exposed]
        newest = keys
        if self.shown is not None:
            newest = np.maximum.accumulate((keys & ~LATEST) + self.shown[exposed])
        first = keys[keys.searchsorted(base)] - base
        last = newest[keys.searchsorted(base + np.maximum(until, 0)) - 1] - base
        hours = (at - np.array([first, np.where(last < until, last, first)])) / HOUR
        return np.where(first < until, hours, -1).T


def moment_features(log: Impressions, counting: Counting, counted: int) -> NDArray[np.float32]:
    """Site totals before every impression, ``[impressions, 2 * limited windows]``.

    The reader's own events count too: one reader is little of a site. The first ``counted``
    impressions are events.
    """
    events, nobody = log.between(0, counted), np.zeros(log.rows, np.int64)
    clicks = np.bincount(
        events.candidates.rows_of(np.flatnonzero(events.labels == 1)), minlength=events.rows
    )
    time = log.timestamp - log.timestamp.min(initial=0)
    exposures = events.candidates.lengths
    totals = EventCounts.of(nobody[:counted], time[:counted], clicks, exposures, groups=1)
    counts = totals.counts(nobody, time, counting.limited_ends)
    return counts.T.astype(np.float32)


def visit_features(
    devices: Sequence[str], index: NDArray[np.integer], subscriber: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Features ``Counting.context`` of visits, ``[visits, features]``.

    ``devices`` are names, the first one of unknown devices; ``index`` says which, ``[visits]``;
    ``subscriber`` is NaN where it is unknown, ``[visits]``. Names are hashed, so that a new one
    needs no table (Weinberger et al., ICML 2009).
    """
    columns = np.zeros((len(devices), DEVICES), np.float32)
    for row, name in enumerate(devices):
        columns[row, zlib.crc32(name.encode()) % DEVICES] = row > 0
    known = np.where(np.isnan(subscriber), 0.5, subscriber).astype(np.float32)
    return np.concatenate([columns[index], known[:, None]], axis=1)


def refuse_without_times(impressions: Impressions, split: str) -> None:
    """Raise ``ValueError`` if half of the impressions or more share one time."""
    times, counts = np.unique(impressions.timestamp, return_counts=True)
    if impressions.rows > 1 and 2 * counts.max() >= impressions.rows:
        moment = np.datetime64(int(times[counts.argmax()]), "s")
        raise ValueError(
            f"Popularity expects the time of each impression, but {counts.max()} of "
            f"{impressions.rows} {split} impressions have the same one, {moment} UTC. Their "
            "order is unknown, so nothing can be counted before each of them. Use a split with "
            "times of day, or a recommender without popularity."
        )


def _grouped(group: NDArray[np.integer], groups: int) -> NDArray[np.int32]:
    """Stable argsort of numbers below ``groups``, in linear time (of a sparse matrix by rows)."""
    places = np.arange(len(group), dtype=np.int32)
    ones = np.ones(len(group), np.int8)
    return csr_array((ones, (group, places)), shape=(groups, len(group))).indices


def _blocks(events: NDArray[np.int64], block: int) -> Iterator[tuple[int, int]]:
    """Ranges of whole articles with at most ``block`` events, or one article."""
    low, total = 0, 0
    for article, count in enumerate(events.tolist()):
        if total and total + count > block:
            yield low, article
            low, total = article, 0
        total += count
    yield low, len(events)


def _repeated(
    article: NDArray[np.integer], user: NDArray[np.integer], users: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Places of pairs that occur more than once, by pair, and a number for each of these pairs."""
    order = _grouped(user, users)
    order = order[_grouped(article[order], int(article[-1]) + 1)]
    article, user = article[order], user[order]
    new = np.append(True, (article[1:] != article[:-1]) | (user[1:] != user[:-1]))
    several = ~(new & np.append(new[1:], True))
    return order[several], np.cumsum(new[several]) - 1
