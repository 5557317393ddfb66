"""News articles, and their bodies, merged by id across all inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from recbole_tinynews.convert.atomic import NewsItem, NewsRow
from recbole_tinynews.convert.errors import EXAMPLES, Column, ConversionError, LineError, quoted
from recbole_tinynews.convert.readers.cells import id_of
from recbole_tinynews.convert.readers.reader import Reader, parsed, read_rows

BODY_COLUMNS = ("id", "title", "body")  # tab-separated, no header
IN_FILE = "repeated_in_one_file_with_the_same_text"
ACROSS_FILES = "repeated_across_files_with_the_same_text"
FILLED = "repeated_with_empty_fields_of_one_filled"
RESPACED = "repeated_with_other_white_space"
BODY = "body"
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
        self._repeated: Counter[str] = Counter()
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
                self._expect_same_body(news_id, body, (path, line), column=3)
                self._keep_body(news_id, body, (path, line))
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
            **{kind: self._repeated[kind] for kind in (IN_FILE, ACROSS_FILES, FILLED, RESPACED)},
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
            "repeated_with_the_same_text": self._repeated[BODY],
            "ids_without_news": len(self._without_news),
            "ids_without_news_examples": sorted(self._without_news)[:EXAMPLES],
        }

    def _add(self, row: NewsRow, place: Place) -> None:
        if self._reader.articles_in_clicks:
            row = self._with_first_texts(row)
        news, body = row
        if body:
            self._expect_same_body(news.news_id, body, place, self._reader.body_column)
        self._add_news(news, place)
        if body:
            self._keep_body(news.news_id, body, place)

    def _with_first_texts(self, row: NewsRow) -> NewsRow:
        """A row with its article's first texts; differences are counted."""
        news, body = row
        if news.news_id not in self.news:
            return row
        first_body = self.bodies.get(news.news_id, b"").decode()
        kept = NewsRow(self.news[news.news_id].filled_from(news), first_body or body)
        if kept != row:
            pairs = zip((*news, body), (*kept.news, kept.body), strict=True)
            if any(new and new != old for new, old in pairs):
                self._changed[news.news_id] = None
        return kept

    def _add_news(self, news: NewsItem, place: Place) -> None:
        first = self.news.setdefault(news.news_id, news)
        first_place = self._places.setdefault(news.news_id, place)
        if first_place is place:
            return
        if first == news:
            self._repeated[IN_FILE if first_place[0] == place[0] else ACROSS_FILES] += 1
            return
        fields = zip(NewsItem._fields, self._reader.news_columns, first, news, strict=True)
        for name, column, old, new in fields:
            if old.strip() and new.strip() and old.split() != new.split():
                where = f"first in {first_place[0]}:{first_place[1]}"
                expected = f"the {name} of {news.news_id}, {where}, {quoted(old)}"
                raise LineError("duplicate news with different text", expected, quoted(new), column)
        if [*map(bool, map(str.strip, first))] != [*map(bool, map(str.strip, news))]:
            self._repeated[FILLED] += 1
            self.news[news.news_id] = first.filled_from(news)
        else:
            self._repeated[RESPACED] += 1

    def _expect_same_body(self, news_id: str, body: str, place: Place, column: Column) -> None:
        """Raise ``LineError`` if the article already has a different body."""
        if self.bodies.get(news_id, encoded := body.encode()) != encoded:
            path, line = self._body_places[news_id]
            where = f"line {line}" if path == place[0] else f"{path}:{line}"
            expected = f"the body that {news_id} has in {where}"
            raise LineError("duplicate body with different text", expected, quoted(body), column)

    def _keep_body(self, news_id: str, body: str, place: Place) -> None:
        self.body_rows += 1
        self._repeated[BODY] += news_id in self.bodies
        self._body_places.setdefault(news_id, place)
        self.bodies.setdefault(news_id, body.encode())
