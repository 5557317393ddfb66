"""News articles, and their bodies, merged by id across all inputs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.convert.atomic import News, NewsRow
from recbole_tinynews.convert.errors import (
    EXAMPLES,
    Column,
    ConversionError,
    LineError,
    OnBadLine,
    quoted,
)
from recbole_tinynews.convert.readers.cells import id_of
from recbole_tinynews.convert.readers.reader import Reader, parsed, read_rows

IN_FILE = "repeated_in_one_file_with_the_same_text"
ACROSS_FILES = "repeated_across_files_with_the_same_text"
FILLED = "repeated_with_empty_fields_of_one_filled"
RESPACED = "repeated_with_other_white_space"
BODY_COLUMNS = ("id", "title", "body")  # tab-separated, no header


class Place(NamedTuple):
    """The file and line of a record."""

    path: Path
    line: int


class Bodies:
    """Bodies by news id, as UTF-8: one curly quote doubles the memory of a ``str``."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}
        self.rows = 0
        self.repeated = 0
        self.without_news: set[str] = set()
        self._places: dict[str, Place] = {}

    def keep(self, news_id: str, body: str, place: Place) -> None:
        """Add a body that passed ``expect_same``."""
        self.repeated += news_id in self.texts
        self.rows += 1
        self._places.setdefault(news_id, place)
        self.texts.setdefault(news_id, body.encode())

    def expect_same(self, news_id: str, body: str, place: Place, column: Column) -> None:
        """Raise ``LineError`` if the article already has a different body."""
        if self.texts.get(news_id, encoded := body.encode()) != encoded:
            first = self._places[news_id]
            same_file = first.path == place.path
            where = f"line {first.line}" if same_file else f"{first.path}:{first.line}"
            raise LineError(
                "duplicate body with different text",
                f"expected the body that {news_id} has in {where}, got {quoted(body)}.",
                column,
            )

    def read(self, path: Path, wanted: Collection[str], on_bad_line: OnBadLine) -> None:
        """Read bodies of the wanted news from a file of ids, titles and bodies, maybe gzip."""

        def add(line: int, fields: list[str]) -> None:
            news_id, _, body = id_of(fields[0], column=1), *fields[1:]
            if news_id in wanted:
                self.expect_same(news_id, body, Place(path, line), column=3)
                self.keep(news_id, body, Place(path, line))
            else:
                self.without_news.add(news_id)
                self.rows += 1

        for _ in parsed(path, read_rows(path, BODY_COLUMNS, on_bad_line), add, on_bad_line):
            pass
        if not self.rows:
            raise ConversionError(f"{path}: expected bodies, found no usable line.")

    def summary(self, items: int) -> dict[str, Any]:
        """Report section on article bodies."""
        return {
            "rows": self.rows,
            "items_with_body": len(self.texts),
            "items_without_body": items - len(self.texts),
            "repeated_with_the_same_text": self.repeated,
            "ids_without_news": len(self.without_news),
            "ids_without_news_examples": sorted(self.without_news)[:EXAMPLES],
        }


class Catalogue:
    """News by id, in order of first occurrence; the first row of an id is kept.

    Repeated rows may differ in white space, and fill empty fields; any other difference is a
    :class:`LineError` or, in formats with articles in each click, counted as an edit.
    """

    def __init__(self, reader: Reader) -> None:
        self.news: dict[str, News] = {}
        self.bodies = Bodies()
        self.rows: dict[Path, int] = {}
        self._repeated = dict.fromkeys((IN_FILE, ACROSS_FILES, FILLED, RESPACED), 0)
        self._changed: dict[str, None] = {}  # an ordered set
        self._reader = reader
        self._places: dict[str, Place] = {}

    def read(self, path: Path) -> None:
        """Add the articles of a file."""

        def add(line: int, content: Any) -> bool:
            row = self._reader.article(path, content)
            if row is not None:
                self._add(row, Place(path, line))
            return row is not None

        rows = self._reader.news_rows(path)
        self.rows[path] = sum(parsed(path, rows, add, self._reader.on_bad_line))
        if not self.rows[path]:
            raise ConversionError(f"{path}: expected news, found no usable line.")

    def about(self) -> dict[str, Any]:
        """Report section on articles whose text changed; empty if none did."""
        if not self._changed:
            return {}
        examples = list(self._changed)[:EXAMPLES]
        return {"articles_whose_text_changed": {"ids": len(self._changed), "examples": examples}}

    def summary(self) -> dict[str, Any]:
        """Report section on rows of articles."""
        texts = {
            "empty_titles": "title",
            "empty_abstracts": "abstract",
            "empty_categories": "category",
            "empty_subcategories": "subcategory",
        }
        return {
            "rows": {str(path): rows for path, rows in self.rows.items()},
            "distinct": len(self.news),
            **self._repeated,
            **{
                name: sum(not getattr(news, field).strip() for news in self.news.values())
                for name, field in texts.items()
            },
        }

    def _add(self, row: NewsRow, place: Place) -> None:
        if self._reader.articles_in_clicks:
            row = self._with_first_texts(row)
        news, body = row
        if body:
            self.bodies.expect_same(news.news_id, body, place, self._reader.body_column)
        self._add_news(news, place)
        if body:
            self.bodies.keep(news.news_id, body, place)

    def _with_first_texts(self, row: NewsRow) -> NewsRow:
        """A row with its article's first texts; differences are counted."""
        news, body = row
        known = self.news.get(news.news_id)
        if known is None:
            return row
        first_body = self.bodies.texts.get(news.news_id, b"").decode()
        kept = NewsRow(known.filled_from(news), first_body or body)
        if kept != row:
            pairs = zip((*news, body), (*kept.news, kept.body), strict=True)
            if any(new and new != old for new, old in pairs):
                self._changed[news.news_id] = None
        return kept

    def _add_news(self, news: News, place: Place) -> None:
        known = self.news.setdefault(news.news_id, news)
        first = self._places.setdefault(news.news_id, place)
        if first is place:
            return
        if known == news:
            self._repeated[IN_FILE if first.path == place.path else ACROSS_FILES] += 1
            return
        for column, (name, old, new) in enumerate(zip(News._fields, known, news, strict=True), 1):
            if old.strip() and new.strip() and old.split() != new.split():
                raise LineError(
                    "duplicate news with different text",
                    f"expected the {name} of {news.news_id}, first in {first.path}:{first.line}, "
                    f"{quoted(old)}, got {quoted(new)}.",
                    self._reader.news_columns[column - 1],
                )
        if [*map(bool, map(str.strip, known))] != [*map(bool, map(str.strip, news))]:
            self._repeated[FILLED] += 1
            self.news[news.news_id] = known.filled_from(news)
        else:
            self._repeated[RESPACED] += 1
