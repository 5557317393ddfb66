"""The interface of readers: one for each published format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.convert.errors import Column, ConversionError, OnBadLine
from recbole_tinynews.convert.records import Impression, NewsRow


class Source(NamedTuple):
    """What to read, and how.

    ``columns`` maps roles to columns (format ``table`` only); ``news`` are separate files of
    articles. ``sampled`` candidates are drawn with ``seed`` for each click without any.
    """

    format: str = "mind"
    columns: Mapping[str, str] = {}
    news: tuple[Path, ...] = ()
    sampled: int = 20
    seed: int = 0


class Reader(ABC):
    """Reads the articles and impressions of one format; a place is what ``--train`` names.

    A reader checks rows, and rows of one place against each other, and passes bad lines to
    ``on_bad_line``, with path, line and column.
    """

    expects = ""  # a place, in words
    options: frozenset[str] = frozenset()  # fields of Source that it uses, beside the format
    shared_id: str | None = None  # an impression id that may occur several times
    articles_in_clicks = False  # texts may change between rows: the first is kept
    news_columns: Sequence[Column] = (
        1,
        2,
        3,
        4,
        5,
        "published",
    )  # of the fields of News, for errors
    body_column: Column = "body"

    def __init__(self, source: Source) -> None:
        self.source = source

    @abstractmethod
    def problem(self, place: Path) -> str | None:
        """What is wrong with a place, as a sentence; None if it can be read.

        Raises:
            OSError: the system can't tell.
            ConversionError: a file can't be read.
        """

    @abstractmethod
    def impressions_file(self, place: Path) -> Path:
        """The file that errors about the impressions as a whole name."""

    @abstractmethod
    def news_files(self, place: Path) -> Sequence[Path]:
        """The files of articles; several places may share one."""

    @abstractmethod
    def news_rows(self, path: Path, on_bad_line: OnBadLine) -> Iterable[tuple[int, Any]]:
        """Numbers and contents of the rows of a file of articles.

        Raises:
            ConversionError: the file can't be read.
        """

    @abstractmethod
    def article(self, path: Path, content: Any) -> NewsRow | None:
        """The article in a row of ``news_rows``; None if it is about none.

        Raises:
            LineError: the row is bad.
        """

    @abstractmethod
    def read_impressions(
        self, place: Path, on_bad_line: OnBadLine, labels_required: bool
    ) -> Iterator[Impression]:
        """The impressions of a place, all labelled or none, after the news of all places.

        Raises:
            ConversionError: the file can't be read, or has no labels and they are required.
        """

    def about(self) -> dict[str, Any]:
        """Sections of the report about this format, after everything was read."""
        return {}


def unlabelled(path: Path, column: str, found: Sequence[str]) -> ConversionError:
    """The error of a file that has no labels where they are required."""
    return ConversionError(
        f"{path}: expected a column {column} (only --test may go without labels, and not with "
        f"--folds), found {', '.join(found)}."
    )


def missing_files(place: Path, names: Sequence[str], expects: str) -> str | None:
    """What is wrong with a folder that should have these files, as a sentence.

    Raises:
        OSError: the system can't tell.
    """
    if not place.is_dir():
        found = "a file" if place.exists() else "nothing there"
        return f"expected {expects}, found {found}."
    missing = [name for name in names if not (place / name).is_file()]
    return f"expected {expects}, found no {' and no '.join(missing)}." if missing else None


def not_a_file(place: Path, expects: str) -> str | None:
    """What is there instead of a file, as a sentence; None if it is one.

    Raises:
        OSError: the system can't tell.
    """
    if place.is_file():
        return None
    return f"expected {expects}, found {'a folder' if place.is_dir() else 'nothing there'}."
