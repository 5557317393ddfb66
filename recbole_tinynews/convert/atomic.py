"""The records that readers yield, and the atomic files of RecBole that they become."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from recbole_tinynews.convert.errors import ConversionError, quoted
from recbole_tinynews.files.columns import (
    BODY,
    FLAT_INTER,
    FLAT_ITEM,
    INTER,
    ITEM,
    PUBLISHED,
    header,
)

ATOMIC_FORMAT = 1  # incremented when columns or their meaning change

INTER_HEADER = header(INTER)
_BUFFER = 1 << 20
_SPACES = str.maketrans("\t\n\r", "   ")


class Impression(NamedTuple):
    """One impression; ``labels`` as in the atomic file (``0 1 0``), '' if unlabelled.

    The fields are the columns ``INTER`` and ``CONTEXT``; those of ``CONTEXT`` are '' if unknown.
    """

    impression_id: str
    user_id: str
    timestamp: int
    history: list[str]
    candidates: list[str]
    labels: str
    context_article: str = ""
    device: str = ""
    session: str = ""
    subscriber: str = ""


class NewsItem(NamedTuple):
    """One article; ``published`` is UTC seconds as text, '' if unknown."""

    news_id: str
    category: str = ""
    subcategory: str = ""
    title: str = ""
    abstract: str = ""
    published: str = ""

    def filled_from(self, other: NewsItem) -> NewsItem:
        """A copy with empty fields filled from another row of this article."""
        return NewsItem(
            *(mine if mine.strip() else its for mine, its in zip(self, other, strict=True))
        )


class NewsRow(NamedTuple):
    """An article; ``body`` is None in formats without bodies."""

    news: NewsItem
    body: str | None = None


def open_atomic(path: Path) -> TextIO:
    r"""Open for writing UTF-8 with ``\n`` line endings on every platform."""
    return path.open("w", encoding="utf-8", newline="\n", buffering=_BUFFER)


def impression_row(impression: Impression, columns: Sequence[str] = INTER) -> str:
    """An impression as one ``.inter`` line; the columns begin with those of ``INTER``."""
    impression_id, user_id, timestamp, history, candidates, labels, *_ = impression
    context = "".join(f"\t{getattr(impression, name)}" for name in columns[len(INTER) :])
    return (
        f"{impression_id}\t{user_id}\t{timestamp}\t{' '.join(history)}\t"
        f"{' '.join(candidates)}\t{labels}{context}\n"
    )


@contextmanager
def inter_file(
    path: Path, columns: Sequence[str], flat: Path | None = None
) -> Iterator[Callable[[bytes], object]]:
    """Open an ``.inter`` and, for stock RecBole, a flat one; gives a function that writes a row."""
    with ExitStack() as files:
        file = files.enter_context(path.open("wb", buffering=_BUFFER))
        file.write(f"{header(columns)}\n".encode())
        if flat is None:
            yield file.write
            return
        flat_file = files.enter_context(open_atomic(flat))
        flat_file.write(f"{header(FLAT_INTER)}\n")

        def write(row: bytes) -> None:
            file.write(row)
            flat_file.writelines(_flat_rows(row))

        yield write


def _flat_rows(row: bytes) -> Iterator[str]:
    """A row for each candidate of an ``.inter`` row; none without labels."""
    _, user, timestamp, _, candidates, labels, *_ = row.decode()[:-1].split("\t")
    if labels:
        check_flat_id(user)
        for item, label in zip(candidates.split(" "), labels.split(" "), strict=True):
            yield f"{user}\t{item}\t{label}\t{timestamp}\n"


def write_items(path: Path, news: Sequence[NewsItem], bodies: Mapping[str, bytes] | None) -> int:
    r"""Write an ``.item``, with the known columns; return how many texts had tabs or line ends."""
    changed = 0
    timed = any(record.published for record in news)
    columns = (*ITEM, *([] if bodies is None else [BODY]), *([PUBLISHED] if timed else []))
    with open_atomic(path) as file:
        file.write(f"{header(columns)}\n")
        for *texts, published in news:
            if bodies is not None:
                texts.append(bodies.get(texts[0], b"").decode())
            if timed:
                texts.append(published)
            row = [text.translate(_SPACES) for text in texts]
            changed += sum(map(str.__ne__, row, texts))
            file.write("\t".join(row) + "\n")
    return changed


FLAT = "-flat"  # follows the name of the data set for stock RecBole
UNKNOWN_CATEGORY = "unknown"

# pandas' default NA values, except the empty string.
# fmt: off
_MISSING = frozenset((
    "#N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
    "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
))
# fmt: on


def write_flat_items(path: Path, news: Iterable[NewsItem]) -> None:
    """Write ids and categories of the items."""
    with open_atomic(path) as file:
        file.write(f"{header(FLAT_ITEM)}\n")
        for record in news:
            check_flat_id(record.news_id)
            categories = _category(record.category), _category(record.subcategory)
            file.write("\t".join((record.news_id, *categories)) + "\n")


def check_flat_id(token: str) -> None:
    """Raise ``ConversionError`` for an id that stock RecBole would take for another, or none."""
    if token in _MISSING or '"' in token:
        raise ConversionError(
            f"--layout=interaction expects ids that stock RecBole can read, got {quoted(token)}. "
            "Use --layout=impression, or rename it."
        )


def _category(text: str) -> str:
    if text in _MISSING or not text.strip():
        return UNKNOWN_CATEGORY
    return text.translate(_SPACES).replace('"', "'")
