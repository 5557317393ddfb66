"""Article bodies, from the raw data or a ``--bodies`` file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from recbole_tinynews.convert.errors import Column, ConversionError, LineError, OnBadLine, quoted
from recbole_tinynews.convert.readers.cells import id_of
from recbole_tinynews.convert.readers.rows import parsed, read_rows

COLUMNS = ("id", "title", "body")  # tab-separated, no header


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

    def of(self, news_id: str) -> str:
        """The body of an article, '' if unknown."""
        return self.texts.get(news_id, b"").decode()

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

    def read(self, path: Path, wanted: Iterable[str], on_bad_line: OnBadLine) -> None:
        """Read bodies of the wanted news from a file of ids, titles and bodies, maybe gzip."""
        wanted = set(wanted)

        def add(line: int, fields: list[str]) -> None:
            news_id, _, body = id_of(fields[0], column=1), *fields[1:]
            if news_id in wanted:
                self.expect_same(news_id, body, Place(path, line), column=3)
                self.keep(news_id, body, Place(path, line))
            else:
                self.without_news.add(news_id)
                self.rows += 1

        for _ in parsed(path, read_rows(path, COLUMNS, on_bad_line), add, on_bad_line):
            pass
        if not self.rows:
            raise ConversionError(f"{path}: expected bodies, got no line that can be used.")
