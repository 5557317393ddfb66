"""A table of one's own, csv or parquet, with columns that the user names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_tinynews.convert.errors import ConversionError, LineError
from recbole_tinynews.convert.readers.click_log import ClickLog, Row
from recbole_tinynews.convert.readers.delimited import delimiter_of, header_of, read_records
from recbole_tinynews.convert.readers.fields import check_clicked, id_of, ids_of, text_of
from recbole_tinynews.convert.readers.logged_articles import LoggedArticles
from recbole_tinynews.convert.readers.parquet import ANY, column_names, read_rows
from recbole_tinynews.convert.readers.reader import Reader, Source, not_a_file, unlabelled
from recbole_tinynews.convert.readers.times import seconds_of
from recbole_tinynews.convert.records import Impression, News, NewsRow, OnBadLine

ROLES = ("user", "time", "clicked", "shown", "history", "impression")
NEWS_ROLES = ("id", "title", "abstract", "category", "subcategory", "body")
PARQUET = ".parquet"


class TableReader(Reader):
    """A row is an impression (``shown``, with ``clicked`` among it), or one click.

    The articles lie in files of ``--news``; or, where a row is one click, in its own row.
    """

    expects = "a .csv, .tsv or .parquet file"
    options = frozenset({"columns", "news", "sampled", "seed"})

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._log = ClickLog(source.sampled, source.seed)
        self._articles = LoggedArticles()
        self._read: set[Path] = set()
        of_news = ("id", "category", "subcategory", "title", "abstract")  # as News has them
        self.news_columns = [self._named(role) for role in of_news]
        self.body_column = self._named("body")

    def problem(self, place: Path) -> str | None:
        """What the file is, or which of its columns is not there."""
        unknown = self.source.columns.keys() - {*ROLES, *NEWS_ROLES}
        if unknown:
            return f"expected roles {', '.join((*ROLES, *NEWS_ROLES))} in --columns, got " + (
                f"{', '.join(sorted(unknown))}."
            )
        if problem := not_a_file(place, self.expects):
            return problem
        if not _is_table(place):
            return f"expected {self.expects}, by the end of its name."
        return self._problem_of_columns(_columns(place))

    def impressions_file(self, place: Path) -> Path:
        """The table."""
        return place

    def news_files(self, place: Path) -> Sequence[Path]:
        """Those of ``--news``, or the table itself."""
        return self.source.news or [place]

    def read_news(self, path: Path, on_bad_line: OnBadLine) -> Iterator[NewsRow]:
        """The articles; those of a log are read together with its clicks."""
        if self.source.news:
            yield from self._read_news_file(path, on_bad_line)
            return
        for number, row, article in self._rows(path, on_bad_line):
            self._log.add(path, row)
            assert article is not None, "the columns have been checked"
            if self._articles.is_new(article.news):
                yield article._replace(line=number)

    def read_impressions(
        self, place: Path, on_bad_line: OnBadLine, labels_required: bool
    ) -> Iterator[Impression]:
        """The rows in the order of time."""
        if labels_required and self._named("clicked") not in _columns(place):
            raise unlabelled(place, self._named("clicked"), _columns(place))
        if self.source.news and place not in self._read:
            self._read.add(place)
            for _, row, _ in self._rows(place, on_bad_line):
                self._log.add(place, row)
        yield from self._log.impressions([place])

    def about(self) -> dict[str, Any]:
        """Candidates that were drawn, texts that changed."""
        return {**self._log.about(), **self._articles.about()}

    def _named(self, role: str) -> str:
        return self.source.columns.get(role, role)

    def _problem_of_columns(self, names: Sequence[str]) -> str | None:
        wanted = ["user", "time"]
        wanted += [role for role in ROLES if role in self.source.columns and role not in wanted]
        own_articles = not self.source.news
        if own_articles:
            wanted += [role for role in NEWS_ROLES if role in self.source.columns]
        there = {role for role in (*ROLES, *NEWS_ROLES) if self._named(role) in names}
        found = f"found {', '.join(names)}."
        missing = [self._named(role) for role in wanted if role not in there]
        if missing:
            return (
                f"expected a column {' and a column '.join(missing)}, {found} Name others with "
                "--columns."
            )
        if not there & {"clicked", "shown"}:
            return f"expected a column of clicked or shown ids, {found} Name it with --columns."
        if own_articles and "shown" in there:
            return "expected --news=FILE with the articles that were shown, got none."
        if own_articles and "title" not in there:
            return f"expected --news=FILE with the articles, or a column of titles, {found}"
        return None

    def _rows(
        self, path: Path, on_bad_line: OnBadLine
    ) -> Iterator[tuple[int, Row, NewsRow | None]]:
        for number, cells in self._cells(path, (*ROLES, *NEWS_ROLES), on_bad_line):
            try:
                row = self._row(cells)
                article = None
                if not self.source.news:
                    assert row.clicked is not None
                    article = self._article(row.clicked[0], cells)
            except LineError as error:
                on_bad_line(error.at(path, number))
            else:
                yield number, row, article

    def _row(self, cells: Mapping[str, Any]) -> Row:
        name = self._named
        shown = ids_of(cells["shown"], name("shown")) if "shown" in cells else None
        clicked = None
        if shown is None:
            clicked = [id_of(cells["clicked"], name("clicked"))]
        elif not shown:
            raise LineError(
                "no candidates", "expected at least one candidate, got none.", name("shown")
            )
        elif "clicked" in cells:
            clicked = ids_of(cells["clicked"], name("clicked"))
            check_clicked(clicked, shown, name("clicked"))
        return Row(
            id_of(cells["impression"], name("impression")) if "impression" in cells else None,
            id_of(cells["user"], name("user")),
            seconds_of(cells["time"], name("time")),
            clicked,
            shown,
            ids_of(cells["history"] or [], name("history")) if "history" in cells else None,
        )

    def _read_news_file(self, path: Path, on_bad_line: OnBadLine) -> Iterator[NewsRow]:
        if not _is_table(path):
            raise ConversionError(
                f"--news={path}: expected {self.expects}, by the end of its name."
            )
        names = _columns(path)
        wanted = {role for role in NEWS_ROLES if role in self.source.columns} | {"id", "title"}
        missing = [self._named(role) for role in sorted(wanted) if self._named(role) not in names]
        if missing:
            raise ConversionError(
                f"{path}: expected a column {' and a column '.join(missing)}, found "
                f"{', '.join(names)}. Name others with --columns."
            )
        for number, cells in self._cells(path, NEWS_ROLES, on_bad_line):
            try:
                article = self._article(id_of(cells["id"], self._named("id")), cells)
            except LineError as error:
                on_bad_line(error.at(path, number))
            else:
                yield article._replace(line=number)

    def _article(self, news_id: str, cells: Mapping[str, Any]) -> NewsRow:
        texts = {
            role: text_of(cells.get(role), self._named(role)) for role in NEWS_ROLES if role != "id"
        }
        body = texts.pop("body")
        return NewsRow(0, News(news_id=news_id, **texts), body if "body" in cells else None)

    def _cells(
        self, path: Path, roles: Sequence[str], on_bad_line: OnBadLine
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The cells of the roles that the file has a column for."""
        names = _columns(path)
        columns = {role: self._named(role) for role in roles if self._named(role) in names}
        if path.suffix == PARQUET:
            rows: Iterator[tuple[int, Mapping[str, Any]]] = read_rows(
                path, dict.fromkeys(columns.values(), ANY)
            )
        else:
            rows = read_records(path, on_bad_line)
        for number, cells in rows:
            yield number, {role: cells[name] for role, name in columns.items()}


def _is_table(path: Path) -> bool:
    return path.suffix == PARQUET or delimiter_of(path) is not None


def _columns(path: Path) -> list[str]:
    return column_names(path) if path.suffix == PARQUET else header_of(path)
