"""Read the atomic files of a data set: news with their text, impressions without padding."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from recbole_tinynews.data.impressions import UNLABELLED, Impressions
from recbole_tinynews.data.ragged import Ragged

PADDING = "[PAD]"  # RecBole's token of id 0
NEWS_COLUMNS = ("item_id:token", "category:token", "subcategory:token", "title:token_seq")
OPTIONAL_NEWS_COLUMNS = ("abstract:token_seq", "body:token_seq")
IMPRESSION_COLUMNS = (
    "impression_id:token",
    "user_id:token",
    "timestamp:float",
    "history:token_seq",
    "candidates:token_seq",
    "labels:float_seq",
)
ROWS_AT_ONCE = 50_000  # bounds the memory that token strings take while a file is read


class TokenIndex(dict):
    """Token -> id, in order of first sight; id 0 is padding. A new token gets the next id."""

    def __init__(self) -> None:
        super().__init__({PADDING: 0})

    def __missing__(self, token: str) -> int:
        self[token] = index = len(self)
        return index

    def ids(self, tokens: list[str]) -> NDArray[np.int32]:
        """The ids of ``tokens``, new ones included."""
        return np.fromiter(map(self.__getitem__, tokens), np.int32, len(tokens))

    def tokens(self) -> NDArray[np.str_]:
        """All tokens by id, padding first."""
        return np.array(list(self), dtype=str)


class News(NamedTuple):
    """The columns of ``NAME.item``, each ``[news]``, row ``i`` having id ``i + 1``."""

    item_id: list[str]
    category: list[str]
    subcategory: list[str]
    title: list[str]
    abstract: list[str]
    body: list[str]


def read_news(path: Path) -> News:
    """Read ``NAME.item``; optional columns that are absent are empty texts.

    Raises:
        ValueError: a column is missing, or an id stands twice.
    """
    wanted = NEWS_COLUMNS + OPTIONAL_NEWS_COLUMNS
    table = pd.concat(_chunks(path, NEWS_COLUMNS, wanted), ignore_index=True)
    columns = {name.split(":")[0]: table[name].tolist() for name in table.columns}
    ids = columns["item_id"]
    if len(set(ids)) < len(ids):
        twice = next(token for row, token in enumerate(ids) if token in ids[:row])
        raise ValueError(
            f"{path} expects one row for each news, got '{twice}' more than once. "
            "Convert the data set anew with python -m recbole_tinynews.convert."
        )
    empty = [""] * len(ids)
    return News(*(columns.get(field, empty) for field in News._fields))


def read_impressions(path: Path, news: TokenIndex, users: TokenIndex) -> Impressions:
    """Read one ``NAME.<split>.inter``; unknown news and users get new ids.

    Raises:
        ValueError: a column is missing, or labels and candidates differ in number.
    """
    parts: list[Impressions] = []
    first_line = 2  # after the header
    for chunk in _chunks(path, IMPRESSION_COLUMNS, IMPRESSION_COLUMNS, progress=True):
        columns = {name.split(":")[0]: chunk[name].tolist() for name in chunk.columns}
        candidates = _token_rows(columns["candidates"], news)
        parts.append(
            Impressions(
                np.array(columns["impression_id"], dtype=str),
                users.ids(columns["user_id"]),
                np.array(columns["timestamp"], dtype=np.float64).astype(np.int64),
                _token_rows(columns["history"], news),
                candidates,
                _labels(columns["labels"], candidates.lengths, path, first_line),
            )
        )
        first_line += len(chunk)
    return concatenate(parts)


def concatenate(parts: list[Impressions]) -> Impressions:
    """All impressions of the parts, in order."""
    return Impressions(
        np.concatenate([part.impression_id for part in parts]),
        np.concatenate([part.user for part in parts]),
        np.concatenate([part.timestamp for part in parts]),
        Ragged.concatenate([part.history for part in parts]),
        Ragged.concatenate([part.candidates for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def _chunks(
    path: Path, required: tuple[str, ...], wanted: tuple[str, ...], progress: bool = False
) -> Iterator[pd.DataFrame]:
    """Every field as the text that stands in the file: no quoting, no missing values."""
    with path.open(encoding="utf-8", newline="\n") as file:
        header = file.readline().rstrip("\n").split("\t")
    missing = [name for name in required if name not in header]
    if missing:
        raise ValueError(
            f"{path}, line 1, expects the columns {', '.join(required)}, got {', '.join(header)} "
            f"(missing: {', '.join(missing)}). Convert MIND with python -m recbole_tinynews.convert."
        )
    reader = pd.read_csv(
        path,
        sep="\t",
        usecols=[name for name in header if name in wanted],
        dtype=object,
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,
        na_filter=False,
        encoding="utf-8",
        lineterminator="\n",
        chunksize=ROWS_AT_ONCE,
    )
    with tqdm(desc=f"Read {path.name}", unit=" rows", disable=None if progress else True) as bar:
        for chunk in reader:
            yield chunk
            bar.update(len(chunk))


def _token_rows(rows: list[str], index: TokenIndex) -> Ragged:
    lengths = np.fromiter((row.count(" ") + 1 if row else 0 for row in rows), np.int64, len(rows))
    joined = " ".join(filter(None, rows))
    tokens = joined.split(" ") if joined else []
    return Ragged.from_lengths(index.ids(tokens), lengths)


def _labels(
    rows: list[str], candidates: NDArray[np.int64], path: Path, first_line: int
) -> NDArray[np.int8]:
    """0 and 1 for labelled rows, ``UNLABELLED`` for the candidates of rows without labels."""
    given = np.fromiter((row.count(" ") + 1 if row else 0 for row in rows), np.int64, len(rows))
    wrong = np.flatnonzero((given != candidates) & (given > 0))
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"{path}, line {first_line + row}, column labels, expects one label for each of the "
            f"{candidates[row]} candidates or none at all, got {given[row]}."
        )
    text = " ".join(filter(None, rows))
    values = np.array(text.split(" ") if text else [], dtype=np.float32)
    if not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"{path} expects labels 0 and 1, got {sorted(set(values.tolist()) - {0.0, 1.0})[:5]}."
        )
    labels = np.full(int(candidates.sum()), UNLABELLED, dtype=np.int8)
    labels[np.repeat(given > 0, candidates)] = values
    return labels
