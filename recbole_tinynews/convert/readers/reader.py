"""The seam between a published format and everything behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.convert.errors import Column, ConversionError
from recbole_tinynews.convert.records import Impression, NewsRow, OnBadLine


class Source(NamedTuple):
    """What to read and how.

    ``columns`` names the column of each role, in ``table`` alone; ``news`` are files of articles
    that lie elsewhere. ``sampled`` candidates are drawn for a click that comes without them;
    ``seed`` also decides their order.
    """

    format: str = "mind"
    columns: Mapping[str, str] = {}
    news: tuple[Path, ...] = ()
    sampled: int = 20
    seed: int = 0


class Reader(ABC):
    """Reads the articles and impressions of one format; a place is what ``--train`` names.

    Checks of a row, and of rows against each other, are the reader's; it passes a bad line to
    ``on_bad_line``, with path, line and column, and goes on. Whatever concerns several places, and
    everything that is written, lies behind it.
    """

    expects = ""  # a place, in words
    options: frozenset[str] = frozenset()  # fields of Source that it uses, beside the format
    shared_id: str | None = None  # an impression id that many impressions have
    articles_in_clicks = False  # a text that differs from the first was edited, and is no bad line
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
        """A sentence on what is missing there; None if it can be read.

        Raises:
            OSError: the system can't tell.
            ConversionError: a file can't be read.
        """

    @abstractmethod
    def impressions_file(self, place: Path) -> Path:
        """What an error about the impressions as a whole names."""

    @abstractmethod
    def news_files(self, place: Path) -> Sequence[Path]:
        """The files of articles; several places may share one."""

    @abstractmethod
    def read_news(self, path: Path, on_bad_line: OnBadLine) -> Iterator[NewsRow]:
        """The articles of a file, repeats included.

        Raises:
            ConversionError: the file can't be read.
        """

    @abstractmethod
    def read_impressions(
        self, place: Path, on_bad_line: OnBadLine, labels_required: bool
    ) -> Iterator[Impression]:
        """The impressions of a place, all of them labelled or none.

        The news of all places have been read before.

        Raises:
            ConversionError: the file can't be read, or has no labels and they are required.
        """

    def about(self) -> dict[str, Any]:
        """What the report says of this format, when all was read."""
        return {}


def unlabelled(path: Path, column: str, found: Sequence[str]) -> ConversionError:
    """The error of a file that has no labels where they are required."""
    return ConversionError(
        f"{path}: expected a column {column} (only --test may go without labels, and not with "
        f"--folds), found {', '.join(found)}."
    )


def lacking(place: Path, names: Sequence[str], expects: str) -> str | None:
    """A sentence on what is wrong with a folder that is to have these files.

    Raises:
        OSError: the system can't tell.
    """
    if not place.is_dir():
        found = "a file" if place.exists() else "nothing there"
        return f"expected {expects}, found {found}."
    missing = [name for name in names if not (place / name).is_file()]
    return f"expected {expects}, found no {' and no '.join(missing)}." if missing else None


def not_a_file(place: Path, expects: str) -> str | None:
    """A sentence on what is there in place of a file.

    Raises:
        OSError: the system can't tell.
    """
    if place.is_file():
        return None
    return f"expected {expects}, found {'a folder' if place.is_dir() else 'nothing there'}."
