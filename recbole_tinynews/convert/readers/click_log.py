"""Impressions from an event log: histories of earlier clicks, sampled candidates."""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from sys import intern
from typing import Any, NamedTuple

from recbole_tinynews.convert.atomic import Impression
from recbole_tinynews.convert.errors import LineError, quoted
from recbole_tinynews.convert.readers.cells import labels_of

HOURS = 24  # an article is current this long after a click on it


class LogRow(NamedTuple):
    """A row of a log; ``history`` is None if the log has none; ``context`` is that of impressions.

    ``labels`` are as in the atomic file. A click without candidates has itself in ``shown``.
    """

    impression_id: str | None
    user: str
    time: int
    shown: Sequence[str]
    labels: str
    history: Sequence[str] | None
    context: Mapping[str, str] = {}
    is_click: bool = False


class _Past:
    def __init__(self) -> None:
        self._times, self._articles = array("q"), list[str]()

    def before(self, time: int) -> list[str]:
        return self._articles[: bisect_left(self._times, time)]

    def add(self, time: int, articles: Iterable[str]) -> None:
        for article in articles:
            position = bisect_right(self._times, time)
            self._times.insert(position, time)
            self._articles.insert(position, article)


class _Unfinished(NamedTuple):
    """An impression of which each row has a candidate."""

    first: LogRow
    shown: list[str]
    labels: list[str]


class ClickLog:
    """Rows of log files.

    A missing history is the user's clicks in earlier seconds of the files read so far; missing
    candidates are sampled from the articles current at the time.
    """

    def __init__(self, sampled: int, seed: int) -> None:
        self._sampled, self._seed = sampled, seed
        self._rows: defaultdict[Any, list[LogRow]] = defaultdict(list)  # by file
        self._unfinished: defaultdict[Any, dict[Hashable, _Unfinished]] = defaultdict(dict)
        self._past: defaultdict[str, _Past] = defaultdict(_Past)
        self._current = CurrentArticles(seed)
        self._read: set[Any] = set()
        self._rows_sampled = self._rows_with_fewer = 0

    def add(self, file: Any, row: LogRow) -> None:
        """Store a row of a file."""
        history = row.history and [*map(intern, row.history)]  # each distinct text once
        shown, labels = [*map(intern, row.shown)], intern(row.labels)
        row = row._replace(user=intern(row.user), shown=shown, labels=labels, history=history)
        self._rows[file].append(row)

    def add_candidate(self, file: Any, row: LogRow) -> None:
        """Store a candidate of an impression, which is the only one of ``row.shown``.

        Rows with one impression id, else rows of one reader and time, are an impression, wherever
        they stand in the file; its candidates keep the order of the rows. ``LineError`` if a row
        differs in what all rows of an impression share.
        """
        key = (row.user, row.time) if row.impression_id is None else row.impression_id
        whole = self._unfinished[file].setdefault(key, _Unfinished(row, [], []))
        for name in ("user", "time", "history", "context"):
            expected, got = getattr(whole.first, name), getattr(row, name)
            if expected != got:
                both = f"{quoted(str(got))} after {quoted(str(expected))}"
                wanted = f"one {name} in all rows of an impression"
                raise LineError("impression of two", wanted, both, name)
        whole.shown.extend(map(intern, row.shown))
        whole.labels.append(intern(row.labels))

    def impressions(self, files: Sequence[Any]) -> Iterator[Impression]:
        """Rows of these files in time order; ties keep the files' order."""
        for file in files:
            for first, shown, labels in self._unfinished.pop(file, {}).values():
                self.add(file, first._replace(shown=shown, labels=" ".join(labels).strip()))
        rows = [(row, file in self._read) for file in files for row in self._rows[file]]
        rows.sort(key=lambda row: row[0].time)
        for number, (row, known) in enumerate(rows, 1):
            yield self._impression(row, str(number), known)
        self._read.update(files)

    def _impression(self, row: LogRow, number: str, known: bool) -> Impression:
        """A row as an impression; its clicks are added to the past unless ``known`` from before."""
        past, shown, labels = self._past[row.user], row.shown, row.labels
        history = past.before(row.time) if row.history is None else [*row.history]
        clicked = [*compress(shown, map("1".__eq__, labels[::2]))]
        if row.is_click:
            shown = self._candidates(row.time, clicked[0])
            labels = labels_of(shown, clicked)
        if not known:
            past.add(row.time, clicked)
        unique = row.impression_id or number
        return Impression(unique, row.user, row.time, history, [*shown], labels, row.context)

    def about(self) -> dict[str, Any]:
        """Report section on sampled candidates; empty if none were."""
        if not self._rows_sampled:
            return {}
        return {
            "sampled_candidates": {
                "impressions": self._rows_sampled,
                "for_each_click": self._sampled,
                "seed": self._seed,
                "from": f"articles clicked by anybody in the {HOURS} hours before, uniformly",
                "impressions_with_fewer": self._rows_with_fewer,
            }
        }

    def _candidates(self, time: int, click: str) -> Sequence[str]:
        drawn = self._current.sample(time, click, self._sampled)
        self._current.click(time, click)
        self._rows_sampled += 1
        self._rows_with_fewer += len(drawn) < self._sampled
        return self._current.shuffle([*drawn, click])


class CurrentArticles:
    """Distinct articles clicked in the last ``HOURS``, added in time order: no look-ahead."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._clicks: deque[tuple[int, str]] = deque()  # (time, article)
        self._counts: Counter[str] = Counter()
        self._articles: list[str] = []
        self._places: dict[str, int] = {}  # article -> index in the list

    def click(self, time: int, article: str) -> None:
        """Add a click; call ``sample`` for its time first."""
        self._clicks.append((time, article))
        self._counts[article] += 1
        if self._counts[article] == 1:
            self._places[article] = len(self._articles)
            self._articles.append(article)

    def sample(self, time: int, clicked: str, count: int) -> list[str]:
        """Sample up to ``count`` current articles uniformly, excluding the clicked one."""
        while self._clicks and self._clicks[-1][0] > time:  # later days of an earlier file
            self._forget(self._clicks.pop()[1])
        while self._clicks and self._clicks[0][0] < time - HOURS * 3600:
            self._forget(self._clicks.popleft()[1])
        size = len(self._articles)
        places = self._random.sample(range(size), min(size, count + 1))
        drawn = [self._articles[place] for place in places]
        return [article for article in drawn if article != clicked][:count]

    def shuffle(self, articles: list[str]) -> list[str]:
        """Shuffle, so that position does not reveal the click."""
        self._random.shuffle(articles)
        return articles

    def _forget(self, article: str) -> None:
        self._counts[article] -= 1
        if self._counts[article]:
            return
        del self._counts[article]
        place, last = self._places.pop(article), self._articles.pop()
        if last != article:
            self._articles[place] = last
            self._places[last] = place
