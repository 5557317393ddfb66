"""Read and write RecBole's atomic files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from recbole_tinynews.convert.records import Impression, News
from recbole_tinynews.files.columns import BODY, INTER, ITEM, PUBLISHED, header

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
