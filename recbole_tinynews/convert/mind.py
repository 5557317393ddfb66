"""Records of MIND's files: impressions, news, and the bodies that users may add."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from recbole_tinynews.convert.candidates import (
    parse_candidates,
    parse_ids,
    reserved_id,
)
from recbole_tinynews.convert.errors import ConversionError, LineError, quoted
from recbole_tinynews.convert.rows import read_rows
from recbole_tinynews.convert.timestamps import utc_seconds
from recbole_tinynews.files.columns import PADDING

IMPRESSIONS_FILE = "behaviors.tsv"
NEWS_FILE = "news.tsv"

IMPRESSION_COLUMNS = ("impression id", "user id", "time", "history", "impressions")
NEWS_COLUMNS = (
    "news id",
    "category",
    "subcategory",
    "title",
    "abstract",
    "url",
    "title entities",
    "abstract entities",
)
BODY_COLUMNS = ("id", "title", "body")

OnBadLine = Callable[[LineError], None]


class Impression(NamedTuple):
    """One display of candidates; ``labels`` as in the atomic file (``0 1 0``), '' for none."""

    impression_id: str
    user_id: str
    timestamp: int
    history: list[str]
    candidates: list[str]
    labels: str


class News(NamedTuple):
    """The columns of one article that a recommender may read."""

    news_id: str
    category: str
    subcategory: str
    title: str
    abstract: str


class NewsRow(NamedTuple):
    """An article and its line number."""

    line: int
    news: News


class BodyRow(NamedTuple):
    """A body and its line number."""

    line: int
    news_id: str
    body: str


def read_behaviors(
    path: Path, on_bad_line: OnBadLine, labels_required: bool
) -> Iterator[Impression]:
    """The impressions of a ``behaviors.tsv``, all of them labelled or none.

    Without ``labels_required`` the first good line says which of the two the file is.

    Raises:
        ConversionError: no line can be used, or lines of the other kind, dropped by
            ``on_bad_line``, outnumber those kept.
    """
    lines: dict[str, int] = {}  # impression id -> line: ids must be unique, and 2.2 million fit
    labelled = True if labels_required else None
    of_the_other_kind = 0
    for number, fields in read_rows(path, IMPRESSION_COLUMNS, on_bad_line):
        try:
            impression = _parse_impression(fields)
            if labelled is None:
                labelled = bool(impression.labels)
            elif labelled is not bool(impression.labels):
                of_the_other_kind += 1
                raise _other_kind(fields[4], labelled, labels_required)
            first = lines.setdefault(impression.impression_id, number)
            if first != number:
                raise LineError(
                    "duplicate impression id",
                    f"expected a unique id, got {quoted(fields[0])} of line {first} again.",
                    column=1,
                )
        except LineError as error:
            on_bad_line(error.at(path, number))
        else:
            yield impression
    if of_the_other_kind > len(lines):
        raise ConversionError(
            f"{path}: expected impressions all with labels or all without, got "
            f"{of_the_other_kind} {'without' if labelled else 'with'} and {len(lines)} "
            f"{'with' if labelled else 'without'}. Dropping the larger part would not be a repair: "
            "split the file in two."
        )
    if not lines:
        raise ConversionError(f"{path}: expected impressions, got no line that can be used.")


def read_news(path: Path, on_bad_line: OnBadLine) -> Iterator[NewsRow]:
    """The news of a ``news.tsv``, repeats included; urls and entities are not kept."""
    for number, fields in read_rows(path, NEWS_COLUMNS, on_bad_line):
        try:
            news_id = _parse_id(fields[0], column=1)
        except LineError as error:
            on_bad_line(error.at(path, number))
        else:
            yield NewsRow(number, News(news_id, *fields[1:5]))


def read_bodies(path: Path, on_bad_line: OnBadLine) -> Iterator[BodyRow]:
    """The bodies of a file of id, title and body, plain or gzip; the titles are not kept."""
    for number, fields in read_rows(path, BODY_COLUMNS, on_bad_line):
        try:
            news_id = _parse_id(fields[0], column=1)
        except LineError as error:
            on_bad_line(error.at(path, number))
        else:
            yield BodyRow(number, news_id, fields[2])


def _parse_impression(fields: list[str]) -> Impression:
    impression_id, user_id, time, history, candidates = fields
    try:
        timestamp = utc_seconds(time)
    except ValueError as error:
        raise LineError(
            "unknown time", f"expected a time such as 11/15/2019 8:55:22 AM: {error}.", column=3
        ) from None
    return Impression(
        _parse_id(impression_id, column=1),
        _parse_id(user_id, column=2),
        timestamp,
        parse_ids(history, column=4),
        *parse_candidates(candidates, column=5),
    )


def _parse_id(text: str, column: int) -> str:
    if text.split() == [text]:
        if text == PADDING:
            raise reserved_id(column)
        return text
    if not text.strip():
        raise LineError("empty id", f"expected an id, got {quoted(text)}.", column)
    raise LineError(
        "white space in an id", f"expected an id without white space, got {quoted(text)}.", column
    )


def _other_kind(candidates: str, labelled: bool, labels_required: bool) -> LineError:
    if not labelled:
        expected = "candidates without labels, as in the lines before (a file has all or none)"
    elif labels_required:
        expected = (
            "-0 or -1 after each candidate (only --test may go without labels, and not "
            "with --folds)"
        )
    else:
        expected = "-0 or -1 after each candidate, as in the lines before (a file has all or none)"
    kind = "candidate without label" if labelled else "labelled among unlabelled"
    return LineError(kind, f"expected {expected}, got {quoted(candidates)}.", column=5)
