"""Rows of an event log: what a row is, histories of earlier clicks, sampled candidates."""

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
from recbole_tinynews.convert.errors import ConversionError, LineError, quoted
from recbole_tinynews.convert.readers.cells import labels_of, mark_of

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


CLICKS, IMPRESSIONS, CANDIDATES = "clicks", "impressions", "candidates"
ROWS = (CLICKS, IMPRESSIONS, CANDIDATES)
SAMPLE = 1_000  # rows looked at
SHOWN_IN_ERRORS = 3
MARK_NAMES = ("label", "labels", "target")  # beside all names with "click" in them
_ROLES = {CLICKS: ("clicked",), IMPRESSIONS: ("shown",), CANDIDATES: ("article", "shown")}

Cells = Mapping[str, Any]  # of a row, by the name of the column


class Shape(NamedTuple):
    """What each row is; ``article`` is the role whose cell is the candidate of a row."""

    rows: str
    reason: str
    article: str | None = None


def recognised(columns: Mapping[str, str], sample: Sequence[Cells], stated: str | None) -> Shape:
    """What the rows of a table are.

    ``columns`` are names by role, of those that the table has; ``sample`` are its first rows;
    ``stated`` is ``--rows``. ``ConversionError`` shows the first rows in both readings if they
    have two, or says which column a stated shape lacks.
    """
    if stated in ROWS:  # another one is refused with the options
        return _stated(columns, stated)
    if "clicked" not in columns:
        return _unlabelled(columns)
    marked = [mark_of(row[columns["clicked"]]) is not None for row in sample]
    if "shown" in columns and not ("article" in columns and all(marked)):
        return _with_all_shown(columns, sample, bool(sample) and all(marked))
    if "article" in columns and all(marked):
        return _candidates(columns, "article")
    values = {str(row[columns["clicked"]]) for row in sample}  # two words may be marks too
    if "article" in columns and (2 * sum(marked) >= len(marked) or len(values) <= 2 < len(sample)):
        odd = [row for row, mark in zip(sample, marked, strict=True) if not mark]
        article = columns["article"], columns["clicked"]
        raise _ambiguous(columns, [sample[0], *odd], CLICKS, article)
    return _clicks(columns, sample, "article" not in columns and bool(sample) and all(marked))


def _stated(columns: Mapping[str, str], rows: str) -> Shape:
    wanted = _ROLES[rows]
    role = next((role for role in wanted if role in columns), None)
    if role is None:
        raise ConversionError(
            f"--rows={rows} expects a column {' or '.join(wanted)}, found "
            f"{', '.join(columns.values())}. Name it with --columns={wanted[0]}=NAME."
        )
    return Shape(rows, f"--rows={rows}", role if rows == CANDIDATES else None)


def _unlabelled(columns: Mapping[str, str]) -> Shape:
    if "shown" in columns:
        return Shape(IMPRESSIONS, f"{columns['shown']} has all candidates, without clicks")
    raise ConversionError(
        f"expected a column clicked beside {columns['article']}, found none. Is each article "
        f"clicked, pass --columns=clicked={columns['article']}; was each shown, in a test set "
        f"without labels, pass --rows={CANDIDATES}."
    )


def _candidates(columns: Mapping[str, str], article: str) -> Shape:
    reason = f"{columns['clicked']} is 0 or 1 and {columns[article]} is one id"
    return Shape(CANDIDATES, reason, article)


def _with_all_shown(columns: Mapping[str, str], sample: Sequence[Cells], marked: bool) -> Shape:
    shown, clicked = columns["shown"], columns["clicked"]
    if not marked or not all(_is_one(row[shown]) for row in sample):
        return Shape(IMPRESSIONS, f"{shown} has all candidates, {clicked} the ids of those clicked")
    if all(str(row[shown]) == str(row[clicked]) for row in sample):
        raise _ambiguous(columns, sample, IMPRESSIONS, (shown, clicked))
    return _candidates(columns, "shown")


def _clicks(columns: Mapping[str, str], sample: Sequence[Cells], marked: bool) -> Shape:
    clicked = columns["clicked"]
    if marked:
        raise _ambiguous(columns, sample, CLICKS, (None, clicked), "article=NAME")
    if (marks := _unused_marks(columns, sample)) is not None:
        roles = f"article={clicked},clicked={marks}"
        raise _ambiguous(columns, sample, CLICKS, (clicked, marks), roles)
    return Shape(CLICKS, f"{clicked} is the id of the article clicked, nothing says what was shown")


def _unused_marks(columns: Mapping[str, str], sample: Sequence[Cells]) -> str | None:
    """A column without a role that seems to say which rows are clicks, or None.

    By its name, or because it has 0 and 1 in rows that mostly share their reader and time.
    """
    times = {(str(row[columns["user"]]), str(row[columns["time"]])) for row in sample}
    shared = 2 * len(times) <= len(sample)
    for name in [name for name in (sample[0] if sample else ()) if name not in columns.values()]:
        marks = {mark_of(row[name]) for row in sample}
        named = "click" in name.lower() or name.lower() in MARK_NAMES
        if None not in marks and (named or (shared and len(marks) == 2)):
            return name
    return None


def _ambiguous(
    columns: Mapping[str, str],
    sample: Sequence[Cells],
    rows: str,
    candidate: tuple[str | None, str],
    roles: str | None = None,
) -> ConversionError:
    """The error for rows that are ``rows``, or candidates in a column with marks in another.

    ``roles`` are those that the second reading needs.
    """
    article, marks = candidate
    verbs = {True: "and clicked it", False: "and did not click it"}

    def sentence(row: Cells, reading: str) -> str:
        clicked = row[columns["clicked"]]
        if reading == CANDIDATES:
            shown = "an article" if article is None else row[article]
            mark = mark_of(row[marks])
            what = f"with mark {row[marks]!r}" if mark is None else verbs[mark]
            said = f"was shown {shown} {what}"
        elif reading == IMPRESSIONS:
            said = f"was shown {row[columns['shown']]} alone and clicked {clicked}"
        else:
            said = f"clicked {quoted(str(clicked))}"
        return f"{row[columns['user']]} {said} at {row[columns['time']]}"

    lines = ["expected rows with one meaning, and these have two:"]
    for reading in (rows, CANDIDATES):
        sentences = [sentence(row, reading) for row in sample[:SHOWN_IN_ERRORS]]
        lines.append(f"  as {reading}: {'; '.join(sentences)}.")
    wanted = f"--columns={roles}" if roles else f"--rows={CANDIDATES}"
    lines.append(f"Pass --rows={rows} if the first is right, {wanted} if the second.")
    return ConversionError("\n".join(lines))


def _is_one(cell: Any) -> bool:
    if isinstance(cell, list):
        return len(cell) == 1
    return cell is not None and len(str(cell).split()) == 1
