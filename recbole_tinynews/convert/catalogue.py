"""The news of all places, merged by id."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from recbole_tinynews.convert.errors import Column, ConversionError, LineError, quoted
from recbole_tinynews.convert.readers.bodies import read_bodies
from recbole_tinynews.convert.readers.reader import Reader
from recbole_tinynews.convert.records import News, OnBadLine


class Place(NamedTuple):
    """Where something was read."""

    path: Path
    line: int


class Bodies:
    """Bodies by news id.

    They are kept as UTF-8: one curly quote would double the memory of an otherwise ASCII text.
    """

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}
        self.rows = 0
        self.repeated = 0
        self.without_news: set[str] = set()
        self._places: dict[str, Place] = {}

    def add(self, news_id: str, body: str, place: Place, column: Column) -> None:
        """Keep the body of one article.

        Raises:
            LineError: it has another one already.
        """
        self.expect_same(news_id, body, place, column)
        self.repeated += news_id in self.texts
        self.rows += 1
        self._places.setdefault(news_id, place)
        self.texts.setdefault(news_id, body.encode())

    def expect_same(self, news_id: str, body: str, place: Place, column: Column) -> None:
        """Compare with what is known, and keep nothing.

        Raises:
            LineError: the article has another body.
        """
        if self.texts.get(news_id, encoded := body.encode()) != encoded:
            first = self._places[news_id]
            same_file = first.path == place.path
            where = f"line {first.line}" if same_file else f"{first.path}:{first.line}"
            raise LineError(
                "duplicate body with different text",
                f"expected the body that {news_id} has in {where}, got {quoted(body)}.",
                column,
            )

    def read(self, path: Path, wanted: Iterable[str], on_bad_line: OnBadLine) -> None:
        """Add the bodies of one file that belong to wanted news."""
        wanted = set(wanted)
        for line, news_id, body in read_bodies(path, on_bad_line):
            if news_id not in wanted:
                self.without_news.add(news_id)
                self.rows += 1
                continue
            try:
                self.add(news_id, body, Place(path, line), column=3)
            except LineError as error:
                on_bad_line(error.at(path, line))
        if not self.rows:
            raise ConversionError(f"{path}: expected bodies, got no line that can be used.")


class Catalogue:
    """News by id, in the order they were first seen, the first row of each id kept.

    MIND repeats an article in the folder of each split, which is normal; a repeat within one file
    is counted separately. A field that is empty in one of two rows is taken from the other, and
    text that differs only in white space is kept as in the first: both are counted. Other
    differences under the same id are a :class:`LineError` naming both places. ``bodies`` are those
    of formats that have them.
    """

    def __init__(self, reader: Reader) -> None:
        self.news: dict[str, News] = {}
        self.bodies = Bodies()
        self.rows: dict[Path, int] = {}
        self.repeated_in_file = 0
        self.repeated_across_files = 0
        self.repeated_with_empty_fields = 0
        self.repeated_with_other_white_space = 0
        self._reader = reader
        self._places: dict[str, Place] = {}

    def read(self, path: Path, on_bad_line: OnBadLine) -> None:
        """Add the articles of one file."""
        self.rows[path] = 0
        for line, news, body in self._reader.read_news(path, on_bad_line):
            place = Place(path, line)
            try:
                if body:
                    self.bodies.expect_same(news.news_id, body, place, self._reader.body_column)
                self._add(news, place)
                if body:
                    self.bodies.add(news.news_id, body, place, self._reader.body_column)
            except LineError as error:
                on_bad_line(error.at(path, line))
            else:
                self.rows[path] += 1
        if not self.rows[path]:
            raise ConversionError(f"{path}: expected news, got no line that can be used.")

    def _add(self, news: News, place: Place) -> None:
        known = self.news.setdefault(news.news_id, news)
        first = self._places.setdefault(news.news_id, place)
        if first is place:
            return
        for column, (name, old, new) in enumerate(zip(News._fields, known, news, strict=True), 1):
            if old.strip() and new.strip() and old.split() != new.split():
                raise LineError(
                    "duplicate news with different text",
                    f"expected the {name} of {news.news_id}, first in {first.path}:{first.line}, "
                    f"{quoted(old)}, got {quoted(new)}.",
                    self._reader.news_columns[column - 1],
                )
        if _filled(known) != _filled(news):
            self.repeated_with_empty_fields += 1
            pairs = zip(known, news, strict=True)
            self.news[news.news_id] = News(*(old if old.strip() else new for old, new in pairs))
        elif known != news:
            self.repeated_with_other_white_space += 1
        elif first.path == place.path:
            self.repeated_in_file += 1
        else:
            self.repeated_across_files += 1


def _filled(news: News) -> list[bool]:
    return [bool(field.strip()) for field in news]
