"""Impressions from an event log: histories of earlier clicks, sampled candidates."""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from typing import Any, NamedTuple

import numpy as np

from recbole_tinynews.convert.atomic import Impression
from recbole_tinynews.convert.errors import LineError, quoted
from recbole_tinynews.convert.readers.cells import labels_of

HOURS = 24  # an article is current this long after a click on it


class NumberedIds(dict[str, int]):
    """Numbers for distinct ids, from 0 in order of first occurrence; ``names`` are the ids."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __missing__(self, name: str) -> int:
        self[name] = number = len(self)
        self.names.append(name)
        return number

    def numbers(self, names: Iterable[str]) -> list[int]:
        """The numbers of ids, which may be new."""
        return list(map(self.__getitem__, names))


class RaggedNumbers:
    """Integer rows of varying length, in the order added, in four bytes each."""

    def __init__(self) -> None:
        self._values, self._ends = array("i"), array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> Sequence[int]:
        return self._values[self._ends[row] : self._ends[row + 1]]

    def add(self, numbers: Iterable[int]) -> None:
        """Append a row."""
        self._values.extend(numbers)
        self._ends.append(len(self._values))


class LogRow(NamedTuple):
    """A row of a log; without a ``history`` it has None, and ``context`` columns of ``CONTEXT``.

    ``labels`` are as in the atomic file. Of a click without candidates, ``shown`` has it alone.
    """

    impression_id: str | None
    user: str
    time: int
    shown: Sequence[str]
    labels: str
    history: Sequence[str] | None
    context: Mapping[str, str] = {}


class _Past:
    def __init__(self) -> None:
        self._times, self._articles = array("q"), array("i")

    def before(self, time: int) -> array[int]:
        return self._articles[: bisect_left(self._times, time)]

    def add(self, time: int, articles: Iterable[int]) -> None:
        for article in articles:
            position = bisect_right(self._times, time)
            self._times.insert(position, time)
            self._articles.insert(position, article)


class ClickLog:
    """Rows of log files, in a few bytes per id.

    A missing history is the user's clicks in earlier seconds of the files read so far; missing
    candidates are sampled from the articles current at the time.
    """

    def __init__(self, sampled: int, seed: int) -> None:
        self._sampled, self._seed = sampled, seed
        self._users, self._articles, self._texts = NumberedIds(), NumberedIds(), NumberedIds()
        self._files: defaultdict[Any, _File] = defaultdict(_File)
        self._past: defaultdict[int, _Past] = defaultdict(_Past)
        self._current = CurrentArticles(seed)
        self._read: set[Any] = set()
        self._rows_sampled = self._rows_with_fewer = 0

    def add_click(self, file: Any, row: LogRow) -> None:
        """Store a click for which candidates are sampled; a file has no other rows."""
        self._files[file].of_clicks = True
        self.add(file, row)

    def add(self, file: Any, row: LogRow) -> None:
        """Store an impression."""
        self._add(self._files[file], row, self._articles.numbers(row.shown))

    def add_candidate(self, file: Any, row: LogRow) -> None:
        """Store a candidate of an impression, which is the only one of ``row.shown``.

        Rows with one impression id, else rows of one reader and time, are an impression, wherever
        they stand in the file; its candidates keep the order of the rows. ``LineError`` if a row
        differs in what all rows of an impression share.
        """
        key = (row.user, row.time) if row.impression_id is None else row.impression_id
        whole = self._files[file].unfinished.setdefault(key, _Unfinished(row, array("i"), []))
        for name in ("user", "time", "history", "context"):
            expected, got = getattr(whole.first, name), getattr(row, name)
            if expected != got:
                both = f"{quoted(str(got))} after {quoted(str(expected))}"
                wanted = f"one {name} in all rows of an impression"
                raise LineError("impression of two", wanted, both, name)
        whole.shown.extend(self._articles.numbers(row.shown))
        whole.labels.append(row.labels)

    def impressions(self, files: Sequence[Any]) -> Iterator[Impression]:
        """Rows of these files in time order; ties keep the files' order."""
        present = [self._files[file] for file in files if file in self._files]
        for content in present:
            for first, shown, labels in content.unfinished.values():
                self._add(content, first._replace(labels=" ".join(labels).strip()), shown)
            content.unfinished.clear()
        known = [file in self._read for file in files if file in self._files]
        starts = np.cumsum([0, *(len(content.times) for content in present)])
        times = [np.frombuffer(content.times, np.int64) for content in present]
        order = np.argsort(np.concatenate([np.zeros(0, np.int64), *times]), kind="stable")
        files_of = np.searchsorted(starts, order, side="right") - 1
        for number, (file, position) in enumerate(zip(files_of, order, strict=True), 1):
            row = int(position - starts[file])
            yield self._impression(present[file], row, str(number), known[file])
        self._read.update(files)

    def _add(self, content: _File, row: LogRow, shown: Iterable[int]) -> None:
        content.ids.append(row.impression_id)
        content.users.append(self._users[row.user])
        content.times.append(row.time)
        content.shown.add(shown)
        content.labels.append(self._texts[row.labels])
        if row.history is not None:
            content.history.add(self._articles.numbers(row.history))
        for name, text in row.context.items():
            content.context[name].append(self._texts[text])

    def _impression(self, file: _File, row: int, number: str, known: bool) -> Impression:
        """A row as an impression; its clicks are added to the past unless ``known`` from before."""
        names, user, time = self._articles.names, file.users[row], file.times[row]
        shown, labels = file.shown[row], self._texts.names[file.labels[row]]
        past = self._past[user]
        before = file.history[row] if file.history else past.before(time)
        clicked = [*compress(shown, map("1".__eq__, labels[::2]))]
        if file.of_clicks:
            shown = self._candidates(time, clicked[0])
            labels = labels_of(shown, clicked)
        if not known:
            past.add(time, clicked)
        return Impression(
            file.ids[row] or number,
            self._users.names[user],
            time,
            [names[article] for article in before],
            [names[article] for article in shown],
            labels,
            {name: self._texts.names[texts[row]] for name, texts in file.context.items()},
        )

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

    def _candidates(self, time: int, click: int) -> Sequence[int]:
        drawn = self._current.sample(time, click, self._sampled)
        self._current.click(time, click)
        self._rows_sampled += 1
        self._rows_with_fewer += len(drawn) < self._sampled
        return self._current.shuffle([*drawn, click])


class _Unfinished(NamedTuple):
    """An impression of which each row has a candidate."""

    first: LogRow
    shown: array[int]
    labels: list[str]


class _File:
    """Columns of one file; ``history`` is empty if the file has none."""

    def __init__(self) -> None:
        self.ids: list[str | None] = []
        self.users, self.times, self.labels = array("i"), array("q"), array("i")
        self.shown, self.history = RaggedNumbers(), RaggedNumbers()
        self.context: defaultdict[str, array[int]] = defaultdict(lambda: array("i"))
        self.unfinished: dict[Hashable, _Unfinished] = {}
        self.of_clicks = False


class CurrentArticles:
    """Distinct articles clicked in the last ``HOURS``, added in time order: no look-ahead."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._clicks: deque[tuple[int, int]] = deque()  # (time, article)
        self._counts: Counter[int] = Counter()
        self._articles: list[int] = []
        self._places: dict[int, int] = {}  # article -> index in the list

    def click(self, time: int, article: int) -> None:
        """Add a click; call ``sample`` for its time first."""
        self._clicks.append((time, article))
        self._counts[article] += 1
        if self._counts[article] == 1:
            self._places[article] = len(self._articles)
            self._articles.append(article)

    def sample(self, time: int, clicked: int, count: int) -> list[int]:
        """Sample up to ``count`` current articles uniformly, excluding the clicked one."""
        while self._clicks and self._clicks[-1][0] > time:  # later days of an earlier file
            self._forget(self._clicks.pop()[1])
        while self._clicks and self._clicks[0][0] < time - HOURS * 3600:
            self._forget(self._clicks.popleft()[1])
        size = len(self._articles)
        places = self._random.sample(range(size), min(size, count + 1))
        drawn = [self._articles[place] for place in places]
        return [article for article in drawn if article != clicked][:count]

    def shuffle(self, articles: list[int]) -> list[int]:
        """Shuffle, so that position does not reveal the click."""
        self._random.shuffle(articles)
        return articles

    def _forget(self, article: int) -> None:
        self._counts[article] -= 1
        if self._counts[article]:
            return
        del self._counts[article]
        place, last = self._places.pop(article), self._articles.pop()
        if last != article:
            self._articles[place] = last
            self._places[last] = place
