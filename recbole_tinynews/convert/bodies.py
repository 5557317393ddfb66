"""The bodies of articles, of formats that have them or of the file of ``--bodies``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from recbole_tinynews.convert.errors import Column, ConversionError, LineError, quoted
from recbole_tinynews.convert.readers.bodies import read_bodies
from recbole_tinynews.convert.readers.parsed import parsed
from recbole_tinynews.convert.records import BodyRow, OnBadLine


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
        self.keep(news_id, body, place)

    def keep(self, news_id: str, body: str, place: Place) -> None:
        """The same for a body that is known to be the one that the article has, if it has any."""
        self.repeated += news_id in self.texts
        self.rows += 1
        self._places.setdefault(news_id, place)
        self.texts.setdefault(news_id, body.encode())

    def of(self, news_id: str) -> str:
        """The body of an article, '' if none is known."""
        return self.texts.get(news_id, b"").decode()

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

        def add(line: int, row: BodyRow) -> None:
            if row.news_id in wanted:
                self.add(row.news_id, row.body, Place(path, line), column=3)
            else:
                self.without_news.add(row.news_id)
                self.rows += 1

        rows = ((row.line, row) for row in read_bodies(path, on_bad_line))
        for _ in parsed(path, rows, add, on_bad_line):
            pass
        if not self.rows:
            raise ConversionError(f"{path}: expected bodies, got no line that can be used.")
