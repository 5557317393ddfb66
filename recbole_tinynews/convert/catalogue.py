"""News articles merged by id across all inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_tinynews.convert.bodies import Bodies, Place
from recbole_tinynews.convert.errors import (
    EXAMPLES,
    ConversionError,
    LineError,
    OnBadLine,
    quoted,
)
from recbole_tinynews.convert.readers.reader import Reader
from recbole_tinynews.convert.readers.rows import parsed
from recbole_tinynews.convert.records import News, NewsRow


class Catalogue:
    """News by id, in order of first occurrence; the first row of an id is kept.

    Repeated rows are counted. They may differ in white space, and empty fields are filled from
    them; any other difference is a :class:`LineError` that names both places. In formats with
    articles in each click it counts as an edit instead.
    """

    def __init__(self, reader: Reader) -> None:
        self.news: dict[str, News] = {}
        self.bodies = Bodies()
        self.rows: dict[Path, int] = {}
        self.repeated_in_file = 0
        self.repeated_across_files = 0
        self.repeated_with_empty_fields = 0
        self.repeated_with_other_white_space = 0
        self._changed: dict[str, None] = {}  # an ordered set
        self._reader = reader
        self._places: dict[str, Place] = {}

    def read(self, path: Path, on_bad_line: OnBadLine) -> None:
        """Add the articles of a file."""

        def add(line: int, content: Any) -> bool:
            row = self._reader.article(path, content)
            if row is not None:
                self._add(row, Place(path, line))
            return row is not None

        rows = self._reader.news_rows(path, on_bad_line)
        self.rows[path] = sum(parsed(path, rows, add, on_bad_line))
        if not self.rows[path]:
            raise ConversionError(f"{path}: expected news, got no line that can be used.")

    def about(self) -> dict[str, Any]:
        """Report section on articles whose text changed; empty if none did."""
        if not self._changed:
            return {}
        examples = list(self._changed)[:EXAMPLES]
        return {"articles_whose_text_changed": {"ids": len(self._changed), "examples": examples}}

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
        kept = NewsRow(known.filled_from(news), self.bodies.of(news.news_id) or body)
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
            self.repeated_in_file += first.path == place.path
            self.repeated_across_files += first.path != place.path
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
            self.news[news.news_id] = known.filled_from(news)
        else:
            self.repeated_with_other_white_space += 1


def _filled(news: News) -> list[bool]:
    return [bool(field.strip()) for field in news]
