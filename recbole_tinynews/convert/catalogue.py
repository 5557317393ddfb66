"""The news of all folders, merged by id."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from recbole_tinynews.convert.errors import ConversionError, LineError, quoted
from recbole_tinynews.convert.mind import News, OnBadLine, read_bodies, read_news


class Place(NamedTuple):
    """Where something was read."""

    path: Path
    line: int


class Catalogue:
    """News by id, in the order they were first seen, the first row of each id kept.

    MIND repeats an article in the folder of each split, which is normal; a repeat within one file
    is counted separately. A field that is empty in one of two rows is taken from the other, and
    text that differs only in white space is kept as in the first: both are counted. Other
    differences under the same id are a :class:`LineError` naming both places.
    """

    def __init__(self) -> None:
        self.news: dict[str, News] = {}
        self.rows: dict[Path, int] = {}
        self.repeated_in_file = 0
        self.repeated_across_files = 0
        self.repeated_with_empty_fields = 0
        self.repeated_with_other_white_space = 0
        self._places: dict[str, Place] = {}

    def read(self, path: Path, on_bad_line: OnBadLine) -> None:
        """Add the rows of one ``news.tsv``."""
        self.rows[path] = 0
        for line, news in read_news(path, on_bad_line):
            try:
                self._add(news, Place(path, line))
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
                    column,
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


class Bodies:
    """Bodies of the wanted news by id.

    They are kept as UTF-8: one curly quote would double the memory of an otherwise ASCII text.
    """

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}
        self.rows = 0
        self.repeated = 0
        self.without_news: set[str] = set()

    def read(self, path: Path, wanted: Iterable[str], on_bad_line: OnBadLine) -> None:
        """Add the bodies of one file that belong to wanted news."""
        wanted = set(wanted)
        lines: dict[str, int] = {}
        for line, news_id, body in read_bodies(path, on_bad_line):
            self.rows += 1
            if news_id not in wanted:
                self.without_news.add(news_id)
                continue
            first = lines.setdefault(news_id, line)
            text = body.encode()
            if self.texts.setdefault(news_id, text) != text:
                self.rows -= 1
                error = LineError(
                    "duplicate body with different text",
                    f"expected the body that {news_id} has in line {first}, got {quoted(body)}.",
                    column=3,
                )
                on_bad_line(error.at(path, line))
            elif first != line:
                self.repeated += 1
        if not self.rows:
            raise ConversionError(f"{path}: expected bodies, got no line that can be used.")
