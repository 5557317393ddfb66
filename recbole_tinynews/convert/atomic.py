"""Read and write RecBole's atomic files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from recbole_tinynews.convert.errors import ConversionError, quoted
from recbole_tinynews.convert.records import Impression, News
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

_SPACES = str.maketrans("\t\n\r", "   ")


def open_atomic(path: Path) -> TextIO:
    r"""Open for writing UTF-8 with ``\n`` line endings on every platform."""
    return path.open("w", encoding="utf-8", newline="\n", buffering=1 << 20)


class InterRow(NamedTuple):
    """The fields of an ``.inter`` row, as text."""

    impression_id: str
    user_id: str
    timestamp: str
    history: str
    candidates: str
    labels: str


def read_inter(path: Path) -> Iterator[InterRow]:
    """Rows of an ``.inter`` file written by this package."""
    with path.open(encoding="utf-8", newline="\n", buffering=1 << 20) as file:
        assert next(file) == f"{INTER_HEADER}\n"
        for line in file:
            yield InterRow._make(line[:-1].split("\t"))


def impression_row(impression: Impression) -> str:
    """An impression as one ``.inter`` line."""
    impression_id, user_id, timestamp, history, candidates, labels = impression
    return (
        f"{impression_id}\t{user_id}\t{timestamp}\t{' '.join(history)}\t"
        f"{' '.join(candidates)}\t{labels}\n"
    )


def write_items(path: Path, news: Sequence[News], bodies: Mapping[str, bytes] | None) -> int:
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
            for place, text in enumerate(texts):
                if "\t" in text or "\n" in text or "\r" in text:
                    texts[place] = text.translate(_SPACES)
                    changed += 1
            file.write("\t".join(texts) + "\n")
    return changed


SUFFIX = "-flat"
UNKNOWN_CATEGORY = "unknown"

# pandas' default NA values, except the empty string.
# fmt: off
_MISSING = frozenset((
    "#N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
    "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
))
# fmt: on


def write_flat_items(path: Path, news: Iterable[News]) -> None:
    """Write ids and categories of the items."""
    with open_atomic(path) as file:
        file.write(f"{header(FLAT_ITEM)}\n")
        for record in news:
            _check(record.news_id)
            categories = _category(record.category), _category(record.subcategory)
            file.write("\t".join((record.news_id, *categories)) + "\n")


def write_flat_interactions(inter: Path, path: Path) -> int:
    """Write the candidates of a labelled ``.inter``; return the number of rows."""
    rows = 0
    with open_atomic(path) as file:
        file.write(f"{header(FLAT_INTER)}\n")
        for _, user, timestamp, _, candidates, labels in read_inter(inter):
            _check(user)
            ids = candidates.split(" ")
            file.writelines(
                f"{user}\t{item}\t{label}\t{timestamp}\n"
                for item, label in zip(ids, labels.split(" "), strict=True)
            )
            rows += len(ids)
    return rows


def _check(token: str) -> None:
    if token in _MISSING or '"' in token:
        raise ConversionError(
            f"--layout=interaction expects ids that stock RecBole can read, got {quoted(token)}. "
            "Use --layout=impression, or rename it."
        )


def _category(text: str) -> str:
    if text in _MISSING or not text.strip():
        return UNKNOWN_CATEGORY
    return text.translate(_SPACES).replace('"', "'")
