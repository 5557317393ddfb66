"""News articles, and their bodies, merged by id across all inputs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from recbole_tinynews.convert.atomic import NewsItem, NewsRow
from recbole_tinynews.convert.errors import EXAMPLES, Column, ConversionError, LineError, quoted
from recbole_tinynews.convert.readers.cells import id_of
from recbole_tinynews.convert.readers.reader import Reader, parsed, read_rows

BODY_COLUMNS = ("id", "title", "body")  # tab-separated, no header
EMPTY = {
    "empty_titles": "title",
    "empty_abstracts": "abstract",
    "empty_categories": "category",
    "empty_subcategories": "subcategory",
}

Place = tuple[Path, int]  # file and line of a record


class Catalogue:
    """News by id, in order of first occurrence; the first row of an id is kept.

    Repeated rows may differ in white space, and fill empty fields; any other difference is a
    :class:`LineError` or, in formats with articles in each click, counted as an edit. Bodies are
    kept as UTF-8: one curly quote doubles the memory of a ``str``.
    """

    def __init__(self, reader: Reader) -> None:
        self.news: dict[str, NewsItem] = {}
        self.bodies: dict[str, bytes] = {}
        self.body_rows = 0
        self._rows: dict[Path, int] = {}
        self._filled = self._bodies_again = 0
        self._changed: dict[str, None] = {}  # an ordered set
        self._without_news: set[str] = set()  # ids of bodies
        self._reader = reader
        self._places: dict[str, Place] = {}
        self._body_places: dict[str, Place] = {}

    def read(self, path: Path) -> None:
        """Add the articles of a file."""

        def add(line: int, content: Any) -> bool:
            row = self._reader.article(path, content)
            if row is not None:
                self._add(row, (path, line))
            return row is not None

        rows = self._reader.news_rows(path)
        self._rows[path] = sum(parsed(path, rows, add, self._reader.on_bad_line))
        if not self._rows[path]:
            raise ConversionError(f"{path}: expected news, found no usable line.")

    def read_bodies(self, path: Path, wanted: Collection[str]) -> None:
        """Add bodies of the wanted news from a file of ids, titles and bodies, maybe gzip."""

        def add(line: int, fields: list[str]) -> None:
            news_id, _, body = id_of(fields[0], column=1), *fields[1:]
            if news_id in wanted:
                self._add_body(news_id, body, (path, line), column=3)
            else:
                self._without_news.add(news_id)
                self.body_rows += 1

        on_bad_line = self._reader.on_bad_line
        for _ in parsed(path, read_rows(path, BODY_COLUMNS, on_bad_line), add, on_bad_line):
            pass
        if not self.body_rows:
            raise ConversionError(f"{path}: expected bodies, found no usable line.")

    def about(self) -> dict[str, Any]:
        """Report section on articles whose text changed; empty if none did."""
        if not self._changed:
            return {}
        examples = list(self._changed)[:EXAMPLES]
        return {"articles_whose_text_changed": {"ids": len(self._changed), "examples": examples}}

    def summary(self) -> dict[str, Any]:
        """Report section on rows of articles."""
        news = self.news.values()
        return {
            "rows": {str(path): rows for path, rows in self._rows.items()},
            "distinct": len(news),
            "repeated": sum(self._rows.values()) - len(news),
            "filled": self._filled,
            **{
                name: sum(not getattr(article, field).strip() for article in news)
                for name, field in EMPTY.items()
            },
        }

    def summary_of_bodies(self, items: int) -> dict[str, Any] | None:
        """Report section on article bodies; None without any."""
        if not self.body_rows:
            return None
        return {
            "rows": self.body_rows,
            "items_with_body": len(self.bodies),
            "items_without_body": items - len(self.bodies),
            "repeated_with_the_same_text": self._bodies_again,
            "ids_without_news": len(self._without_news),
            "ids_without_news_examples": sorted(self._without_news)[:EXAMPLES],
        }

    def _add(self, row: NewsRow, place: Place) -> None:
        merged = self._merged(row.news)
        if row.body:
            self._add_body(merged.news_id, row.body, place, self._reader.body_column)
        first = self.news.get(merged.news_id, merged)
        self._filled += merged != first or row.news.filled_from(first) != row.news
        self.news[merged.news_id] = merged
        self._places.setdefault(merged.news_id, place)

    def _merged(self, news: NewsItem) -> NewsItem:
        """The article's first row, filled from ``news``; ``LineError`` if they may not differ."""
        first = self.news.get(news.news_id, news)
        columns = dict(zip(NewsItem._fields, self._reader.news_columns, strict=False))
        for name, old, new in zip(NewsItem._fields, first, news, strict=True):
            if old != new and old.strip() and new.strip() and old.split() != new.split():
                if self._reader.articles_in_clicks:
                    self._changed[news.news_id] = None
                    continue
                path, line = self._places[news.news_id]
                expected = f"the {name} of {news.news_id}, first in {path}:{line}, {quoted(old)}"
                raise LineError(
                    "duplicate news with different text",
                    expected,
                    quoted(new),
                    columns.get(name, name),
                )
        return first.filled_from(news)

    def _add_body(self, news_id: str, body: str, place: Place, column: Column) -> None:
        """Keep the first body of an article; ``LineError`` if another one may not differ."""
        first = self.bodies.setdefault(news_id, encoded := body.encode())
        first_place = self._body_places.setdefault(news_id, place)
        if first != encoded and self._reader.articles_in_clicks:
            self._changed[news_id] = None
        elif first != encoded:
            path, line = first_place
            where = f"line {line}" if path == place[0] else f"{path}:{line}"
            expected = f"the body that {news_id} has in {where}"
            raise LineError("duplicate body with different text", expected, quoted(body), column)
        self.body_rows += 1
        self._bodies_again += first_place is not place
