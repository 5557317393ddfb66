"""Custom tables: csv, tsv or parquet, with columns mapped to roles."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from recbole_tinynews.convert.atomic import Impression, NewsItem, NewsRow
from recbole_tinynews.convert.errors import ConversionError, LineError, OnBadLine, quoted, readable
from recbole_tinynews.convert.readers.cells import (
    clicked_in,
    context_of,
    duplicate,
    id_of,
    ids_of,
    labels_of,
    marked_in,
    one_id_of,
    published_of,
    seconds_of,
    shown_in,
    text_of,
)
from recbole_tinynews.convert.readers.click_log import (
    CANDIDATES,
    CLICKS,
    IMPRESSIONS,
    SAMPLE,
    ClickLog,
    LogRow,
    Shape,
    recognised,
)
from recbole_tinynews.convert.readers.reader import Options, Reader, parsed, unlabelled
from recbole_tinynews.files.columns import CONTEXT
from recbole_tinynews.files.lines import LONGEST_LINE, read_line_batches
from recbole_tinynews.files.parquet import column_names, read_rows

KINDS = "a .csv, .tsv or .parquet file"
PARQUET = ".parquet"
DELIMITERS = {".csv": ",", ".tsv": "\t"}
IMPRESSION_ROLES = (
    *("user", "time", "article", "clicked", "shown", "history", "impression"),
    *CONTEXT,
)
NEWS_ROLES = ("id", "title", "abstract", "category", "subcategory", "published", "body")
ROLES = (*IMPRESSION_ROLES, *NEWS_ROLES)


class TableReader(Reader):
    """Reads tables whose rows are impressions, candidates of impressions, or clicks.

    ``recognised`` tells which. Articles are in ``--news`` files or, with one article a row, in the
    same row; ``ClickLog`` adds missing histories and candidates.
    """

    expects = KINDS

    def __init__(self, given: Options) -> None:
        super().__init__(given)
        self._log = ClickLog(given.sampled, given.seed)
        self._seen: defaultdict[Path, set[str]] = defaultdict(set)  # impression ids
        self._read_files: set[Path] = set()
        self._shapes: dict[Path, Shape] = {}
        self.articles_in_clicks = not given.news
        of_news = ("id", "category", "subcategory", "title", "abstract", "published")
        self.news_columns = [self._column(role) for role in of_news]  # in the order of NewsItem
        self.body_column = self._column("body")

    def problem(self, place: Path) -> str | None:
        """Describe a wrong file type, missing columns, or rows with two meanings."""
        if unknown := sorted(self.given.columns.keys() - {*ROLES}):
            return f"expected roles of {', '.join(ROLES)} in --columns, got {', '.join(unknown)}."
        if not place.is_file():
            return f"expected {KINDS}, found {'a folder' if place.is_dir() else 'nothing there'}."
        if not _is_table(place):
            return f"expected {KINDS}, judging by its extension."
        of_this_file = IMPRESSION_ROLES if self.given.news else ROLES
        named = [role for role in of_this_file if role in self.given.columns]
        wanted = dict.fromkeys(["user", "time", *(role for role in named if role != "clicked")])
        return self._missing(place, wanted) or self._problem_of_roles(place)

    def news_files(self, place: Path) -> Sequence[Path]:
        """The files of ``--news``, or the table itself."""
        return self.given.news or [place]

    def news_rows(self, path: Path) -> Iterable[tuple[int, Any]]:
        """Rows of a file of articles, or of a click log that contains them."""
        if not self.given.news:
            return self._read(path, ROLES)
        if not _is_table(path):
            raise ConversionError(f"--news={path}: expected {KINDS}, judging by its extension.")
        named = [role for role in NEWS_ROLES if role in self.given.columns]
        if problem := self._missing(path, dict.fromkeys(["id", "title", *named])):
            raise ConversionError(f"{path}: {problem}")
        return self._read(path, NEWS_ROLES)

    def article(self, path: Path, content: Any) -> NewsRow | None:
        """An article; a click in the same row is stored for ``read_impressions``."""
        if self.given.news:
            return self._article(id_of(content["id"], self._column("id")), content)
        row = self._row(path, content)
        (news_id,) = row.shown  # as the columns, which have been checked, say
        article = self._article(news_id, content)
        self._add(path, row)
        return article

    def read_impressions(self, place: Path, labels_required: bool) -> Iterator[Impression]:
        """Rows in time order."""
        if labels_required and not self._roles(place, ["clicked"]):
            raise unlabelled(place, self._column("clicked"), _names_of(place))
        if self.given.news and place not in self._read_files:  # else read with the articles
            self._read_files.add(place)
            rows = self._read(place, IMPRESSION_ROLES)

            def add(_: int, cells: Mapping[str, Any]) -> None:
                self._add(place, self._row(place, cells))

            for _ in parsed(place, rows, add, self.on_bad_line):
                pass
        yield from self._log.impressions([place])

    def context(self, place: Path) -> Sequence[str]:
        """Columns of these roles."""
        return self._roles(place, CONTEXT)

    def about(self) -> dict[str, Any]:
        """Report sections on what the rows of each table are, and on sampled candidates."""
        tables = {
            str(path): {"rows": shape.rows, "recognised_by": shape.reason}
            for path, shape in self._shapes.items()
        }
        return {"tables": tables, **self._log.about()}

    def _column(self, role: str) -> str:
        return self.given.columns.get(role, role)

    def _roles(self, path: Path, roles: Iterable[str]) -> list[str]:
        names = _names_of(path)
        return [role for role in roles if self._column(role) in names]

    def _missing(self, path: Path, roles: Iterable[str]) -> str | None:
        """Describe in a sentence the columns that a table lacks, or return None."""
        names = _names_of(path)
        missing = [self._column(role) for role in roles if self._column(role) not in names]
        if not missing:
            return None
        return (
            f"expected a column {' and a column '.join(missing)}, found {', '.join(names)}. Name "
            "others with --columns."
        )

    def _problem_of_roles(self, place: Path) -> str | None:
        present = self._roles(place, ROLES)
        found = f"found {', '.join(_names_of(place))}."
        if not {"article", "clicked", "shown"}.intersection(present):
            return f"expected a column of clicked or shown ids, {found} Name it with --columns."
        try:
            shape = self._shape(place)
        except ConversionError as error:
            return str(error)
        if not self.given.news and shape.rows == IMPRESSIONS:
            return "expected --news=FILE with the articles that were shown, got none."
        if not self.given.news and "title" not in present:
            return f"expected --news=FILE with the articles, or a column of titles, {found}"
        return None

    def _shape(self, path: Path) -> Shape:
        """What the rows of a table are; ``ConversionError`` if its first rows leave that open."""
        if path not in self._shapes:
            columns = {role: self._column(role) for role in self._roles(path, IMPRESSION_ROLES)}
            self._shapes[path] = recognised(columns, _first_rows(path), self.given.rows)
        return self._shapes[path]

    def _read(self, path: Path, roles: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Row numbers (csv and tsv: of the first line), from 1, and cells by role."""
        columns = {role: self._column(role) for role in self._roles(path, roles)}
        with readable(path):
            for number, cells in _rows(path, self.on_bad_line, columns.values()):
                yield number, {role: cells[name] for role, name in columns.items()}

    def _row(self, path: Path, cells: Mapping[str, Any]) -> LogRow:
        """A row of the log; that of a candidate or a click has it alone in ``shown``."""
        column, shape = self._column, self._shape(path)
        labels, history, impression_id = "", None, None
        if shape.article is not None:
            shown = [one_id_of(cells[shape.article], column(shape.article))]
            if "clicked" in cells:
                labels = str(int(marked_in(cells["clicked"], column("clicked"))))
        elif shape.rows == CLICKS:
            shown, labels = [id_of(cells["clicked"], column("clicked"))], "1"
        else:
            shown = shown_in(cells["shown"], column("shown"))
            if "clicked" in cells:
                clicked = clicked_in(_empty_if_null(cells["clicked"]), column("clicked"), shown)
                labels = labels_of(shown, clicked)
        if "history" in cells:  # empty cell: user without clicks
            history = ids_of(_empty_if_null(cells["history"]), column("history"))
        if "impression" in cells:
            impression_id = id_of(cells["impression"], column("impression"))
        user = id_of(cells["user"], column("user"))
        time = seconds_of(cells["time"], column("time"))
        context = context_of({role: cells[role] for role in CONTEXT if role in cells}, column)
        if shape.rows != CANDIDATES and impression_id is not None:
            if impression_id in self._seen[path]:
                raise duplicate("impression id", impression_id, column("impression"))
            self._seen[path].add(impression_id)
        is_click = shape.rows == CLICKS
        return LogRow(impression_id, user, time, shown, labels, history, context, is_click)

    def _add(self, path: Path, row: LogRow) -> None:
        is_candidate = self._shape(path).rows == CANDIDATES
        (self._log.add_candidate if is_candidate else self._log.add)(path, row)

    def _article(self, news_id: str, cells: Mapping[str, Any]) -> NewsRow:
        texts = {
            role: text_of(cells.get(role), self._column(role))
            for role in NEWS_ROLES
            if role not in ("id", "published")
        }
        body = texts.pop("body")
        published = published_of(cells.get("published"), self._column("published"))
        news = NewsItem(news_id=news_id, **texts, published=published)
        return NewsRow(news, body if "body" in cells else None)


def _is_table(path: Path) -> bool:
    """Whether the file name has a table's extension."""
    return path.suffix == PARQUET or _delimiter(path) is not None


def _names_of(path: Path) -> list[str]:
    """Column names; ``ConversionError`` if the file is unreadable or a name occurs twice."""
    with readable(path):
        return column_names(path) if path.suffix == PARQUET else _header(path)


def _rows(
    path: Path, on_bad_line: OnBadLine, columns: Iterable[str] = (), progress: bool = True
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows by the name of the column; of parquet, only these columns are read."""
    if path.suffix == PARQUET:
        return read_rows(path, columns, progress=progress)
    return _records(path, on_bad_line, progress)


def _first_rows(path: Path) -> list[dict[str, Any]]:
    """Readable rows among the first; what is wrong with others is told when all are read."""
    found: list[dict[str, Any]] = []
    with suppress(ConversionError, ValueError, OSError, EOFError):
        rows = _rows(path, lambda _: None, _names_of(path), progress=False)
        found.extend(cells for _, cells in islice(rows, SAMPLE))
    return found


def _delimiter(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return DELIMITERS.get(suffixes[-1]) if suffixes else None


def _header(path: Path) -> list[str]:
    try:
        names: list[str] = next(_reader(path, progress=False), [])
    except csv.Error as error:
        raise ConversionError(f"{path}:1: expected names of columns, got: {error}.") from error
    if not names:
        raise ConversionError(f"{path}: expected names of columns in its first line, got none.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConversionError(f"{path}:1: expected each column once, got {quoted(twice)} again.")
    return names


def _records(
    path: Path, on_bad_line: OnBadLine, progress: bool
) -> Iterator[tuple[int, dict[str, str]]]:
    names = _header(path)
    reader = _reader(path, progress)
    next(reader)
    while True:
        before = reader.line_num
        try:
            fields = next(reader)
            _check(fields, names)
        except StopIteration:
            return
        except (csv.Error, LineError) as error:
            quotes = "broken quotes", "cells, quoted where needed", str(error)
            bad = error if isinstance(error, LineError) else LineError(*quotes)
            bad.lines = reader.line_num - before
            on_bad_line(bad.at(path, before + 1))
        else:
            yield before + 1, dict(zip(names, fields, strict=True))


def _reader(path: Path, progress: bool) -> Any:
    # invalid bytes become surrogates, detected once the record is complete
    lines = (
        line.decode("utf-8", "surrogateescape").replace("\0", "\udc00") + "\n"
        for batch in read_line_batches(path, progress)
        for line in batch
    )
    csv.field_size_limit(LONGEST_LINE)  # process-wide; some bodies exceed the default
    delimiter = _delimiter(path)
    assert delimiter is not None, "refused with the options"
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _check(fields: list[str], names: list[str]) -> None:
    if len(fields) != len(names):
        expected = f"{len(names)} columns ({', '.join(names)})"
        got = f"{len(fields)} in {quoted(str(fields))}"
        raise LineError("wrong number of columns", expected, got)
    for name, field in zip(names, fields, strict=True):
        if not field.isascii() and any("\ud800" <= letter <= "\udfff" for letter in field):
            what = "a NUL byte" if "\udc00" in field else "other bytes"
            kind = "NUL byte" if "\udc00" in field else "invalid UTF-8"
            raise LineError(kind, "UTF-8", f"{what} in {quoted(field)}", name)


def _empty_if_null(cell: Any) -> Any:
    """A cell of ids; NULL, as in parquet, has none."""
    return "" if cell is None else cell
