"""The interface of the format readers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tinynews.convert.errors import Column, ConversionError, OnBadLine, stop
from recbole_tinynews.convert.records import Impression, NewsRow


class Source(NamedTuple):
    """The input format and its options.

    ``columns`` maps roles to column names (``table`` only); ``news`` are separate files of
    articles; ``sampled`` candidates are drawn with ``seed`` for each click without any; ``rows``
    is what a row of a table is, ``clicks``, ``impressions`` or ``candidates`` (default:
    recognised by its cells).
    """

    format: str = "mind"
    columns: Mapping[str, str] = {}
    news: tuple[Path, ...] = ()
    sampled: int = 20
    seed: int = 0
    rows: str | None = None


class Reader(ABC):
    """Reads one format from places, the folders or files of ``--train``; reports bad rows."""

    expects = ""  # description of a place
    options: frozenset[str] = frozenset()  # fields of Source in use, besides the format
    impressions_file = ""  # of a place, to name in errors; none: the place itself
    shared_id: str | None = None  # an impression id that may repeat
    articles_in_clicks = False  # texts may differ between rows; the first is kept
    news_columns: Sequence[Column] = (1, 2, 3, 4, 5, "published")  # for errors, in News' order
    body_column: Column = "body"

    def __init__(self, source: Source) -> None:
        self.source = source
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

    def about(self) -> dict[str, Any]:
        """Report sections specific to the format, after reading."""
        return {}


def unlabelled(path: Path, column: str, found: Sequence[str]) -> ConversionError:
    """Error for a file without the required labels."""
    return ConversionError(
        f"{path}: expected a column {column} (only --test may go without labels), found "
        f"{', '.join(found)}."
    )


def missing_files(place: Path, names: Sequence[str], expects: str) -> str | None:
    """Describe in a sentence which of these files a folder lacks, or return None."""
    if not place.is_dir():
        found = "a file" if place.exists() else "nothing there"
        return f"expected {expects}, found {found}."
    missing = [name for name in names if not (place / name).is_file()]
    return f"expected {expects}, found no {' and no '.join(missing)}." if missing else None


def not_a_file(place: Path, expects: str) -> str | None:
    """Describe in a sentence what is there instead of a file, or return None."""
    if place.is_file():
        return None
    return f"expected {expects}, found {'a folder' if place.is_dir() else 'nothing there'}."
