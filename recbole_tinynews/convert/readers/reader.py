"""The interface of the format readers, and the loop over rows that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from recbole_tinynews.convert.atomic import Impression, NewsRow
from recbole_tinynews.convert.errors import (
    EXAMPLES,
    Column,
    ConversionError,
    LineError,
    OnBadLine,
    quoted,
    readable,
    stop,
)
from recbole_tinynews.files.lines import read_line_batches

Content = TypeVar("Content")
Record = TypeVar("Record")


LAST_DAY = "last-day"


class Options(NamedTuple):
    """What to convert; ``valid`` is ``last-day``, a fraction or a path.

    The last ones are of tables: ``columns`` maps roles to column names; ``news`` are separate files
    of articles; ``sampled`` candidates are drawn with ``seed`` for each click without any; ``rows``
    is what a row is, ``clicks``, ``impressions`` or ``candidates`` (default: recognised by its
    cells).
    """

    train: tuple[Path, ...] = ()
    dataset: str = ""
    valid: str | float | Path = LAST_DAY
    test: tuple[Path, ...] = ()
    bodies: Path | None = None
    output: Path = Path("dataset")
    on_error: str = "stop"
    layout: str = "impression"
    format: str = "mind"
    columns: Mapping[str, str] = {}
    news: tuple[Path, ...] = ()
    sampled: int = 20
    seed: int = 0
    rows: str | None = None

    @property
    def places(self) -> dict[str, tuple[Path, ...]]:
        """Input paths of each split that has any."""
        valid = (self.valid,) if isinstance(self.valid, Path) else ()
        places = {"train": self.train, "valid": valid, "test": self.test}
        return {split: paths for split, paths in places.items() if paths}

    @property
    def flat(self) -> bool:
        """Whether to write a second data set, for stock RecBole."""
        return self.layout == "interaction"


OF_TABLES = Options._fields[Options._fields.index("columns") :]


class Reader(ABC):
    """Reads one format from places, the folders or files of ``--train``; reports bad rows."""

    expects = ""  # description of a place
    impressions_file = ""  # of a place, to name in errors; none: the place itself
    shared_id: str | None = None  # an impression id that may repeat
    articles_in_clicks = False  # texts may differ between rows; the first is kept
    # those of NewsItem's first fields; the columns of others have their names
    news_columns: Sequence[Column] = (1, 2, 3, 4, 5, "published")
    body_column: Column = "body"

    def __init__(self, given: Options) -> None:
        self.given = given
        self.on_bad_line: OnBadLine = stop

    @abstractmethod
    def problem(self, place: Path) -> str | None:
        """Describe in a sentence why a place can't be read, or return None; or ``OSError``."""

    @abstractmethod
    def news_files(self, place: Path) -> Sequence[Path]:
        """The files of articles; places may share them."""

    @abstractmethod
    def news_rows(self, path: Path) -> Iterable[tuple[int, Any]]:
        """Row numbers and contents of a file of articles; ``ConversionError`` if unreadable."""

    @abstractmethod
    def article(self, path: Path, content: Any) -> NewsRow | None:
        """The article in a row of ``news_rows``, or None; ``LineError`` if the row is bad."""

    @abstractmethod
    def read_impressions(self, place: Path, labels_required: bool) -> Iterator[Impression]:
        """Impressions of a place, all labelled or none; called after the articles are read."""

    def context(self, place: Path) -> Sequence[str]:
        """Columns of ``CONTEXT`` that the impressions of a place have."""
        return ()

    def about(self) -> dict[str, Any]:
        """Report sections specific to the format, after reading."""
        return {}


def unlabelled(path: Path, column: str, names: Sequence[str]) -> ConversionError:
    """Error for a file without the required labels."""
    return ConversionError(
        f"{path}: expected a column {column} (only --test may go without labels), found "
        f"{', '.join(names)}."
    )


def missing_files(place: Path, names: Sequence[str], expects: str) -> str | None:
    """Describe in a sentence which of these files a folder lacks, or return None."""
    if not place.is_dir():
        return f"expected {expects}, found {'a file' if place.exists() else 'nothing there'}."
    missing = [name for name in names if not (place / name).is_file()]
    return f"expected {expects}, found no {' and no '.join(missing)}." if missing else None


def parsed(
    path: Path,
    rows: Iterable[tuple[int, Content]],
    parse: Callable[[int, Content], Record],
    on_bad_line: OnBadLine,
) -> Iterator[Record]:
    """Apply ``parse`` to numbers and rows, in order; its ``LineError`` goes to ``on_bad_line``."""
    for number, content in rows:
        try:
            record = parse(number, content)
        except LineError as error:
            on_bad_line(error.at(path, number))
        else:
            yield record


def read_rows(
    path: Path, columns: Sequence[str], on_bad_line: OnBadLine
) -> Iterator[tuple[int, list[str]]]:
    """Line numbers, from 1, and fields of a tab-separated file without quoting, plain or gzip."""

    def split(number: int, line: bytes) -> tuple[int, list[str]]:
        fields = decoded(line).split("\t")
        if len(fields) != len(columns):
            raise _wrong_number(fields, columns)
        return number, fields

    number = 0
    for lines in _batches(path):
        if len(lines) > EXAMPLES and not any(lines):
            empty = _wrong_number([""], columns)  # many empty lines are one error
            empty.lines = len(lines) - EXAMPLES
            on_bad_line(empty.at(path, number + 1))
            number += empty.lines
            lines = lines[:EXAMPLES]
        yield from parsed(path, enumerate(lines, number + 1), split, on_bad_line)
        number += len(lines)


def decoded(line: bytes) -> str:
    """The text of a line; ``LineError`` if it is not UTF-8 or has a NUL byte."""
    if b"\0" in line:
        raise LineError("NUL byte", "text", f"a NUL byte at byte {line.index(0) + 1}")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = line[error.start : error.start + 4]
        got = f"{wrong!r} at byte {error.start + 1} of the line ({error.reason})"
        raise LineError("invalid UTF-8", "UTF-8", got) from None


def _wrong_number(fields: Sequence[str], columns: Sequence[str]) -> LineError:
    text = "\t".join(fields)
    expected = f"{len(columns)} tab-separated columns ({', '.join(columns)})"
    return LineError("wrong number of columns", expected, f"{len(fields)} in {quoted(text)}")


def _batches(path: Path) -> Iterator[list[bytes]]:
    empty = True
    with readable(path):
        for lines in read_line_batches(path, progress=True):
            empty = False
            yield lines
    if empty:
        raise ConversionError(f"{path}: expected lines, got an empty file.")
