"""Flat interactions for stock RecBole: one row per candidate.

Stock RecBole parses quotes, reads words such as ``NA`` as missing, and fails on missing tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from recbole_tinynews.convert.atomic import open_atomic, read_inter
from recbole_tinynews.convert.errors import ConversionError, quoted
from recbole_tinynews.convert.records import News
from recbole_tinynews.files.columns import FLAT_INTER, FLAT_ITEM, header

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
    return text.replace('"', "'").replace("\r", " ")
