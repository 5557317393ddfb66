"""A table of one's own, csv or parquet, with columns that the user names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_tinynews.convert.errors import ConversionError
from recbole_tinynews.convert.readers.candidates import clicked_in, shown_in
from recbole_tinynews.convert.readers.click_log import ClickLog, Row
from recbole_tinynews.convert.readers.fields import duplicate_impression, id_of, ids_of, text_of
from recbole_tinynews.convert.readers.own_tables import KINDS, OwnTables, is_table, names_of
from recbole_tinynews.convert.readers.parsed import parsed
from recbole_tinynews.convert.readers.reader import Reader, Source, not_a_file, unlabelled
from recbole_tinynews.convert.readers.seen_ids import SeenIds
from recbole_tinynews.convert.readers.times import published_of, seconds_of
from recbole_tinynews.convert.records import Impression, News, NewsRow, OnBadLine

IMPRESSION_ROLES = ("user", "time", "clicked", "shown", "history", "impression")
NEWS_ROLES = ("id", "title", "abstract", "category", "subcategory", "published", "body")
ROLES = (*IMPRESSION_ROLES, *NEWS_ROLES)


class TableReader(Reader):
    """A row is an impression (``shown``, with ``clicked`` among it), or one click.

    The articles lie in files of ``--news``; or, where a row is one click, in its own row. Without
    a column ``history`` it is built from the user's clicks before; without ``shown`` candidates
    are drawn (see ``ClickLog``).
    """

    expects = KINDS
    options = frozenset({"columns", "news", "sampled", "seed"})

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._tables = OwnTables(source.columns)
        self._log = ClickLog(source.sampled, source.seed)
        self._read: set[Path] = set()
        self.articles_in_clicks = not source.news
        of_news = (
            "id",
            "category",
            "subcategory",
            "title",
            "abstract",
            "published",
        )  # as News has them
        self.news_columns = [self._tables.column(role) for role in of_news]
        self.body_column = self._tables.column("body")

    def problem(self, place: Path) -> str | None:
        """What the file is, or which of its columns is not there."""
        unknown = sorted(self.source.columns.keys() - {*ROLES})
        if unknown:
            return f"expected roles of {', '.join(ROLES)} in --columns, got {', '.join(unknown)}."
        if problem := not_a_file(place, KINDS):
            return problem
        if not is_table(place):
            return f"expected {KINDS}, by the end of its name."
        return self._tables.missing(place, self._wanted()) or self._problem_of_roles(place)

    def impressions_file(self, place: Path) -> Path:
        """The table."""
        return place

    def news_files(self, place: Path) -> Sequence[Path]:
        """Those of ``--news``, or the table itself."""
        return self.source.news or [place]

    def read_news(self, path: Path, on_bad_line: OnBadLine) -> Iterator[NewsRow]:
        """The articles; those of a log are read together with its clicks."""
        return (self._read_news_file if self.source.news else self._read_log)(path, on_bad_line)

    def read_impressions(
        self, place: Path, on_bad_line: OnBadLine, labels_required: bool
    ) -> Iterator[Impression]:
        """The rows in the order of time."""
        if labels_required and not self._tables.roles(place, ["clicked"]):
            raise unlabelled(place, self._tables.column("clicked"), names_of(place))
        if self.source.news and place not in self._read:
            self._read.add(place)
            seen = SeenIds()
            cells = self._tables.read(place, IMPRESSION_ROLES, on_bad_line)
            for row in parsed(place, cells, lambda _, of: self._row(of, seen), on_bad_line):
                self._log.add(place, row)
        yield from self._log.impressions([place])

    def about(self) -> dict[str, Any]:
        """Candidates that were drawn."""
        return self._log.about()

    def _wanted(self) -> list[str]:
        """Roles that a table of impressions needs, or that the user has named."""
        of_this_file = IMPRESSION_ROLES if self.source.news else ROLES
        named = [role for role in of_this_file if role in self.source.columns]
        return list(dict.fromkeys(["user", "time", *(r for r in named if r != "clicked")]))

    def _problem_of_roles(self, place: Path) -> str | None:
        there = self._tables.roles(place, ROLES)
        found = f"found {', '.join(names_of(place))}."
        if "clicked" not in there and "shown" not in there:
            return f"expected a column of clicked or shown ids, {found} Name it with --columns."
        if not self.source.news and "shown" in there:
            return "expected --news=FILE with the articles that were shown, got none."
        if not self.source.news and "title" not in there:
            return f"expected --news=FILE with the articles, or a column of titles, {found}"
        return None

    def _read_log(self, path: Path, on_bad_line: OnBadLine) -> Iterator[NewsRow]:
        seen = SeenIds()

        def parse(number: int, cells: Mapping[str, Any]) -> tuple[Row, NewsRow]:
            row = self._row(cells, seen)
            assert row.clicked is not None, "the columns have been checked"
            return row, self._article(number, row.clicked[0], cells)

        rows = self._tables.read(path, ROLES, on_bad_line)
        for row, article in parsed(path, rows, parse, on_bad_line):
            self._log.add(path, row)
            yield article

    def _row(self, cells: Mapping[str, Any], seen: SeenIds) -> Row:
        column = self._tables.column
        shown, clicked = None, None
        if "shown" not in cells:
            clicked = [id_of(cells["clicked"], column("clicked"))]
        else:
            shown = shown_in(cells["shown"], column("shown"))
            if "clicked" in cells:
                clicked = clicked_in(cells["clicked"], column("clicked"), shown)
        row = Row(
            id_of(cells["impression"], column("impression")) if "impression" in cells else None,
            id_of(cells["user"], column("user")),
            seconds_of(cells["time"], column("time")),
            clicked,
            shown,
            self._history(cells["history"]) if "history" in cells else None,
        )
        if row.impression_id is not None and not seen.add(row.impression_id):
            raise duplicate_impression(row.impression_id, column("impression"))
        return row

    def _history(self, cell: Any) -> list[str]:
        """Nothing in the cell is a user without clicks."""
        return ids_of("" if cell is None else cell, self._tables.column("history"))

    def _read_news_file(self, path: Path, on_bad_line: OnBadLine) -> Iterator[NewsRow]:
        if not is_table(path):
            raise ConversionError(f"--news={path}: expected {KINDS}, by the end of its name.")
        wanted = dict.fromkeys(
            ["id", "title", *(r for r in NEWS_ROLES if r in self.source.columns)]
        )
        if problem := self._tables.missing(path, wanted):
            raise ConversionError(f"{path}: {problem}")

        def parse(number: int, cells: Mapping[str, Any]) -> NewsRow:
            return self._article(number, id_of(cells["id"], self._tables.column("id")), cells)

        rows = self._tables.read(path, NEWS_ROLES, on_bad_line)
        yield from parsed(path, rows, parse, on_bad_line)

    def _article(self, number: int, news_id: str, cells: Mapping[str, Any]) -> NewsRow:
        texts = {
            role: text_of(cells.get(role), self._tables.column(role))
            for role in NEWS_ROLES
            if role not in ("id", "published")
        }
        body = texts.pop("body")
        published = published_of(cells.get("published"), self._tables.column("published"))
        return NewsRow(
            number,
            News(news_id=news_id, **texts, published=published),
            body if "body" in cells else None,
        )
