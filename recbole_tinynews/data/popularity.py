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
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recbole_tinynews.data.impressions import CandidateFeatures, Impressions
from recbole_tinynews.files.array_cache import Arrays, cached_arrays, content_key
from recbole_tinynews.files.columns import DEVICE, SUBSCRIBER
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.settings.table import FINETUNE_TEACHER

CACHE_FORMAT = "popularity 4"  # raise it when the meaning of the cached arrays changes
FOREVER = 1 << 40  # seconds: longer than any log
HOUR = 3600  # seconds
DEVICES = 8  # columns that names of devices are hashed to
BLOCK = 2_000_000  # candidates counted at once: about 0.4 GB


def uses_popularity(config: Settings) -> bool:
    """Whether scores of a stage with these settings use counters."""
    return config["popularity"] not in (None, "none")


class Counting(NamedTuple):
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

    @property
    def span(self) -> int:
        """Seconds after which an event counts in no limited window."""
        return round(max((hours or 0 for hours in self.windows), default=0) * HOUR) + self.delay

    @property
    def lengths(self) -> list[int]:
        """Windows in seconds."""
        return [FOREVER if hours is None else round(hours * HOUR) for hours in self.windows]

    @property
    def names(self) -> tuple[str, ...]:
        """Features of a candidate: hours of age, then clicks, then exposures by window.

        With ``reader`` then the reader's own, and hours since they first and last saw it (-1:
        never).
        """
        spans = ["ever" if window is None else f"{window:g}h" for window in self.windows]
        counters = [f"{kind}_{span}" for kind in ("clicks", "exposures") for span in spans]
        own = [f"own_{name}" for name in counters] + ["hours_since_first", "hours_since_last"]
        return ("age_hours", *counters, *(own if self.reader else ()))

    @property
    def limited(self) -> list[int]:
        """Limited windows in seconds: those that site totals are counted in.

        The total of all time grows with a site's age, so what is fitted to it does not last.
        """
        return [round(hours * HOUR) for hours in self.windows if hours is not None]

    @property
    def size(self) -> int:
        """Number of features of a candidate and of its moment."""
        return len(self.names) + 2 * len(self.limited) + self.reader + len(self.context)

    @property
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
    features = _features(log, counting, counted, published, cache)
    moments = moment_features(log, counting, counted)
    if counting.reader:
        since = hours_since_visit(log, counting.delay, counted)
        moments = np.concatenate([moments, since[:, None]], axis=1)
    if counting.page:
        visits = visit_features(devices, log.columns[DEVICE], log.columns[SUBSCRIBER])
        moments = np.concatenate([moments, visits], axis=1)
    return features._replace(moments=moments)


def _features(
    log: Impressions,
    counting: Counting,
    counted: int,
    published: NDArray[np.floating] | None,
    cache: tuple[Path, str] | None,
) -> CandidateFeatures:
    shape = len(log.candidates.values), len(counting.names)

    def count(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return count_events(log, counting, counted, published, values)

    if cache is None:
        return CandidateFeatures(counting.names, count(np.zeros(shape, np.float32)))
    folder, content = cache
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as file:  # may not fit into memory

        def make() -> Arrays:
            size = max(1, shape[0] * shape[1]) * np.dtype(np.float32).itemsize
            file.truncate(size)
            return {"values": count(np.memmap(file, np.float32, "r+", shape=shape))}

        key = content_key([CACHE_FORMAT, content, repr(counting)])
        values = cached_arrays(folder, "popularity", key, make)["values"]
    return CandidateFeatures(counting.names, values)


def count_events(
    log: Impressions,
    counting: Counting,
    counted: int | None = None,
    published: NDArray[np.floating] | None = None,
    out: NDArray[np.float32] | None = None,
    block: int = BLOCK,
) -> NDArray[np.float32]:
    """Features (``Counting.names``) of every candidate in the order of ``candidates.values``.

    Blocks of articles are independent: sort events by article and time, look up running sums at
    both ends of each window, subtract what the same user saw. The first ``counted`` impressions are
    events (None: all). ``published``, ``[articles]``, are UTC seconds; where NaN, and by default,
    age counts from the first exposure to anyone, without the delay. ``out``, ``[candidates,
    features]``, are zeros to fill; ``block`` is the number of candidates processed at once.
    """
    articles = log.candidates.values
    if out is None:
        out = np.zeros((len(articles), len(counting.names)), np.float32)
    if not len(articles):
        return out
    origin, users = int(log.timestamp.min()), int(log.user.max()) + 1
    row_of = np.repeat(np.arange(log.rows, dtype=np.int32), log.candidates.lengths)
    place_in_time = None  # of impressions that are not in order of time
    if (log.timestamp[1:] < log.timestamp[:-1]).any():
        place_in_time = np.empty(log.rows, np.int32)
        place_in_time[np.argsort(log.timestamp, kind="stable")] = np.arange(log.rows)
    for low, high in _blocks(np.bincount(articles), block):
        places = np.flatnonzero((articles >= low) & (articles < high))
        if not len(places):
            continue
        if place_in_time is not None:
            places = places[_grouped(place_in_time[row_of[places]], log.rows)]
        rows = row_of[places]
        stamp, user, article = log.timestamp[rows], log.user[rows], articles[places] - low
        exposed = None if counted is None or counted >= log.rows else rows < counted
        clicked = (
            log.labels[places] == 1 if exposed is None else exposed & (log.labels[places] == 1)
        )
        order = _grouped(article, high - low)
        every = _Sorted.of(order, article[order], stamp[order] - origin)
        features = np.empty((len(places), out.shape[1]), np.float32)
        for column, counts in enumerate(every.counts(clicked, exposed, counting), 1):
            features[:, column] = counts
        back = np.empty_like(order)
        back[order] = np.arange(len(back), dtype=back.dtype)
        repeated, number = _repeated(article, user, high - low, users)
        own = _Sorted.of(repeated, number, stamp[repeated] - origin)
        _set_apart(features, own, back[repeated], clicked, exposed, counting)
        times = None if published is None else published[articles[places[order]]]
        features[:, 0] = age_hours(stamp[order], stamp[order[every.start]], times)
        if place_in_time is None and len(places) == len(out):  # three times as fast
            np.take(features, back, axis=0, out=out, mode="clip")
        else:
            out[places] = features.take(back, axis=0)
    return out


def _set_apart(
    features: NDArray[np.float32],
    own: _Sorted,
    rows: NDArray[np.int32],
    clicked: NDArray[np.bool_],
    exposed: NDArray[np.bool_] | None,
    counting: Counting,
) -> None:
    """Take the reader's own events out of the counters, and put them into columns of their own.

    ``rows`` are those of ``own`` among the features.
    """
    counts = own.counts(clicked, exposed, counting)
    some = np.flatnonzero(counts.any(axis=0))
    for column, values in enumerate(counts, 1):
        features[rows[some], column] -= values[some]
    if not counting.reader:
        return
    width = 1 + len(counts)
    features[:, width:-2] = 0
    features[:, -2:] = -1
    for column, values in enumerate(counts, width):
        features[rows[some], column] = values[some]
    features[rows, -2:] = own.hours_since(exposed, counting.delay)


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


class SiteTotals(NamedTuple):
    """Running clicks and exposures of a whole site, ``[events + 1, 2]``, by ascending time."""

    times: NDArray[np.int64]
    running: NDArray[np.int64]

    @classmethod
    def of(
        cls, times: NDArray[np.int64], clicks: NDArray[Any], exposures: NDArray[Any]
    ) -> SiteTotals:
        """Totals of events in any order, each with its numbers of clicks and exposures."""
        order = np.argsort(times, kind="stable")
        running = np.zeros((len(order) + 1, 2), np.int64)
        for column, numbers in enumerate((clicks, exposures)):
            np.cumsum(numbers[order], out=running[1:, column])
        return cls(times[order], running)

    def counts(self, at: NDArray[np.int64], counting: Counting) -> NDArray[np.int64]:
        """Clicks, then exposures in each limited window, ``[moments, 2 * limited windows]``."""
        until = at - counting.delay
        ends = until[:, None] - np.array([0, *counting.limited])
        sums = self.running[self.times.searchsorted(ends)]  # [moments, 1 + windows, 2]
        return (sums[:, :1] - sums[:, 1:]).swapaxes(1, 2).reshape(len(at), -1)


def moment_features(log: Impressions, counting: Counting, counted: int) -> NDArray[np.float32]:
    """Site totals before every impression, ``[impressions, 2 * limited windows]``.

    The reader's own events count too: one reader is little of a site. The first ``counted``
    impressions are events.
    """
    events = log.between(0, counted)
    clicks = np.bincount(
        events.candidates.rows_of(np.flatnonzero(events.labels == 1)), minlength=events.rows
    )
    totals = SiteTotals.of(events.timestamp, clicks, events.candidates.lengths)
    return totals.counts(np.asarray(log.timestamp), counting).astype(np.float32)


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


class _Sorted(NamedTuple):
    """Events by group and time: their places, groups, times, and where each one's group starts."""

    order: NDArray[np.int32]
    group: NDArray[np.integer]
    time: NDArray[np.int64]
    start: NDArray[np.int64]

    @classmethod
    def of(
        cls, order: NDArray[np.int32], group: NDArray[np.integer], time: NDArray[np.int64]
    ) -> _Sorted:
        return cls(order, group, time, _run_starts(group[1:] != group[:-1], len(group)))

    def counts(
        self, clicked: NDArray[np.bool_], exposed: NDArray[np.bool_] | None, counting: Counting
    ) -> NDArray[np.int32]:
        """Clicks, then exposures in each window, at each event, ``[2 * windows, events]``.

        Which events are clicks and exposures (None: all), in the order of places.
        """
        running = [_running(clicked[self.order])]
        if exposed is not None:
            running.append(_running(exposed[self.order]))
        latest, windows = int(self.time.max(initial=0)), len(counting.windows)
        base = self.group.astype(np.int64) << latest.bit_length()
        keys = base + self.time

        def sums(ago: int) -> list[NDArray[Any]]:
            """Running clicks and exposures before each event's time minus ``ago``."""
            if ago > latest:
                places = self.start
            elif ago == 0:
                places = _run_starts(keys[1:] != keys[:-1], len(keys))
            else:
                places = np.searchsorted(keys, base + np.maximum(self.time - ago, 0))
            found = [each.take(places) for each in running]
            return found if exposed is not None else [*found, places]

        until, counts = sums(counting.delay), np.empty((2, windows, len(keys)), np.int32)
        for number, length in enumerate(counting.lengths):
            before = sums(counting.delay + length)
            for each, last, first in zip(counts, until, before, strict=True):
                np.subtract(last, first, out=each[number], casting="same_kind")
        return counts.reshape(2 * windows, len(keys))

    def hours_since(self, exposed: NDArray[np.bool_] | None, delay: int) -> NDArray[np.float64]:
        """Hours since the first and the last exposure of each event's group, ``[events, 2]``.

        Those from ``delay`` seconds before the event on are unknown; -1: there is none.
        """
        size = len(self.order)
        counted = np.ones(size, bool) if exposed is None else exposed[self.order]
        shift = int(self.time.max(initial=0)).bit_length()
        base = self.group.astype(np.int64) << shift
        until = np.searchsorted(base + self.time, base + np.maximum(self.time - delay, 0))
        places = np.append(np.arange(size), size)
        last = np.maximum.accumulate(np.append(np.where(counted, places[:-1], -1), -1))[until - 1]
        following = np.where(np.append(counted, True), places, size)[::-1]
        first = np.minimum.accumulate(following)[::-1][self.start]
        hours = np.full((size, 2), -1.0)
        for column, event, is_known in (
            (0, first, first < until),
            (1, last, (until > self.start) & (last >= self.start)),
        ):
            hours[is_known, column] = (self.time[is_known] - self.time[event[is_known]]) / HOUR
        return hours


def hours_since_visit(log: Impressions, delay: int, counted: int) -> NDArray[np.float32]:
    """Hours since each impression's reader was last shown anything, ``[impressions]``; -1: never.

    The first ``counted`` impressions are events.
    """
    order = np.lexsort((log.timestamp, log.user))
    time = log.timestamp[order] - log.timestamp.min(initial=0)
    user = log.user[order]
    visits = _Sorted.of(order.astype(np.int32), user, time)
    hours = np.empty(log.rows, np.float32)
    hours[order] = visits.hours_since(np.arange(log.rows) < counted, delay)[:, 1]
    return hours


def _run_starts(new: NDArray[np.bool_], size: int) -> NDArray[np.int64]:
    """Where each key's run of equal keys starts; ``new``: which differ from the one before."""
    places = np.arange(size)
    places[1:] *= new
    return np.maximum.accumulate(places, out=places)


def _running(which: NDArray[np.bool_]) -> NDArray[np.int32]:
    running = np.zeros(len(which) + 1, np.int32)
    np.cumsum(which, out=running[1:])
    return running


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
    article: NDArray[np.integer], user: NDArray[np.integer], articles: int, users: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Places of pairs that occur more than once, by pair, and a number for each of these pairs."""
    order = _grouped(user, users)
    order = order[_grouped(article[order], articles)]
    article, user = article[order], user[order]
    new = np.append(True, (article[1:] != article[:-1]) | (user[1:] != user[:-1]))
    several = ~(new & np.append(new[1:], True))
    return order[several], np.cumsum(new[several])
