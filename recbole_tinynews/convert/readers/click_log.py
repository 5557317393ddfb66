"""Impressions from an event log: histories of earlier clicks, sampled candidates."""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from recbole_tinynews.convert.readers.cells import labels_of
from recbole_tinynews.convert.readers.compact import NumberedIds, RaggedNumbers
from recbole_tinynews.convert.records import Impression

HOURS = 24  # an article is current this long after a click on it


class Row(NamedTuple):
    """A row of a log, None for missing columns; without ``shown``, ``clicked`` is a single id.

    ``marks`` say of each of ``shown`` whether it was clicked, where that is known one by one.
    """

    impression_id: str | None
    user: str
    time: int
    clicked: Sequence[str] | None
    shown: Sequence[str] | None
    history: Sequence[str] | None
    marks: Sequence[int] | None = None


class _Past:
    def __init__(self) -> None:
        self._times, self._articles = array("q"), array("i")

    def before(self, time: int) -> array[int]:
        return self._articles[: bisect_left(self._times, time)]

    def add(self, time: int, articles: Sequence[int]) -> None:
        for article in articles:
            place = bisect_right(self._times, time)
            self._times.insert(place, time)
            self._articles.insert(place, article)


class ClickLog:
    """Rows of log files, in a few bytes per id.

    A missing history is the user's clicks in earlier seconds of the files read so far; missing
    candidates are sampled from the articles current at the time.
    """

    def __init__(self, sampled: int, seed: int) -> None:
        self._sampled, self._seed = sampled, seed
        self._users, self._articles = NumberedIds(), NumberedIds()
        self._files: dict[Any, _File] = {}
        self._past: dict[int, _Past] = {}
        self._current = CurrentArticles(seed)
        self._read: set[Any] = set()
        self._rows_sampled = self._rows_with_fewer = 0

    def add(self, file: Any, row: Row) -> None:
        """Store a row of a file."""
        content = self._files.setdefault(file, _File())
        content.ids.append(row.impression_id)
        content.users.append(self._users[row.user])
        content.times.append(row.time)
        for column, ids in zip(content.ragged, (row.clicked, row.shown, row.history), strict=True):
            if ids is not None:
                column.add(self._articles.numbers(ids))
        if row.marks is not None:
            content.marks.add(row.marks)

    def impressions(self, files: Sequence[Any]) -> Iterator[Impression]:
        """Rows of these files in time order; ties keep the files' order."""
        present = [file for file in files if file in self._files]
        times = [np.frombuffer(self._files[file].times, np.int64) for file in present]
        starts = np.cumsum([0, *map(len, times)])
        order = np.argsort(np.concatenate([np.zeros(0, np.int64), *times]), kind="stable")
        files_of = np.searchsorted(starts, order, side="right") - 1
        for number, (file_number, place) in enumerate(zip(files_of, order, strict=True), 1):
            file, row = present[file_number], int(place - starts[file_number])
            yield self._impression(self._files[file], row, str(number), file in self._read)
        self._read.update(files)

    def _impression(self, file: _File, row: int, number: str, known: bool) -> Impression:
        """A row as an impression; its clicks are added to the past unless ``known`` from before."""
        names, user, time = self._articles.names, file.users[row], file.times[row]
        clicked, shown, history = (column[row] if column else None for column in file.ragged)
        past = self._past.setdefault(user, _Past())
        before = past.before(time) if history is None else history
        if shown is None:
            assert clicked is not None, "the reader refuses a file that has neither"
            shown = self._candidates(time, clicked[0])
        if clicked is not None and not known:
            past.add(time, clicked)
        if clicked is None:
            labels = ""
        elif file.marks:
            labels = " ".join(map(str, file.marks[row]))
        else:
            labels = labels_of(shown, clicked)
        return Impression(
            file.ids[row] or number,
            self._users.names[user],
            time,
            [names[each] for each in before],
            [names[each] for each in shown],
            labels,
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


class _File:
    """Columns of one file; a ragged one is empty if the file lacks it."""

    def __init__(self) -> None:
        self.ids: list[str | None] = []
        self.users, self.times = array("i"), array("q")
        self.ragged = (RaggedNumbers(), RaggedNumbers(), RaggedNumbers())  # clicked, shown, history
        self.marks = RaggedNumbers()


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
