"""Reader of atomic files, whose fields are raw text without quoting or missing-value markers.

Checks too of what parses but is probably wrong: truncated, swapped, or of another data set.
Tables of articles in other formats, as callers have them, are read here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_tinynews.data.impressions import UNLABELLED, Impressions, with_offsets
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.files.columns import (
    CANDIDATES,
    CATEGORY,
    CONTEXT,
    CONTEXT_ARTICLE,
    HISTORY,
    IMPRESSION_ID,
    INTER,
    ITEM_ID,
    LABELS,
    PADDING,
    PUBLISHED,
    SUBCATEGORY,
    TIMESTAMP,
    TITLE,
    USER_ID,
    is_token,
    typed,
)
from recbole_tinynews.files.lines import read_lines
from recbole_tinynews.files.table_files import read_table

REQUIRED_OF_ITEMS = (ITEM_ID, CATEGORY, SUBCATEGORY, TITLE)
LABEL_VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
LATEST = 2**53  # floats are exact up to here
LONGER = 1.5  # titles relative to abstracts; in MIND a third
MANY_UNKNOWN = 0.1  # of candidates; none in MIND
ROWS_AT_ONCE = 20_000  # bounds the memory for token strings


class TokenIndex(dict):
    """Token -> id, in order of first appearance; id 0 is padding."""

    def __init__(self) -> None:
        super().__init__({PADDING: 0})

    def __missing__(self, token: str) -> int:
        self[token] = index = len(self)
        return index

    def ids(self, tokens: Sequence[str]) -> NDArray[np.int32]:
        """Ids of ``tokens``; new tokens get the next ids."""
        return np.fromiter(map(self.__getitem__, tokens), np.int32, len(tokens))

    def tokens(self) -> NDArray[np.str_]:
        """All tokens by id, padding first."""
        return np.array(list(self), dtype=str)


class ItemColumns(NamedTuple):
    """Columns of ``NAME.item``, ``[news]``; row ``i`` has id ``i + 1``."""

    item_id: list[str]
    category: list[str]
    subcategory: list[str]
    title: list[str]
    abstract: list[str]
    body: list[str]
    published: list[str]
    source: list[str]


class FileRows(NamedTuple):
    """Consecutive rows of a file: texts by column name."""

    path: Path
    first_line: int
    columns: dict[str, Sequence[str]]

    def mistake(self, row: int, column: str, expected: str, got: str) -> ValueError:
        """An error with file, line and column, to raise."""
        return ValueError(
            f"{self.path}, line {self.first_line + row}, column {column}, expects {expected}, got "
            f"{got}. Convert the data set again with recbole-tinynews convert."
        )


def read_news(path: Path) -> ItemColumns:
    """Read ``NAME.item``, optional columns empty if missing; ``ValueError`` for bad rows or ids."""
    columns: dict[str, list[str]] = {field: [] for field in ItemColumns._fields}
    for rows in _read(path, REQUIRED_OF_ITEMS):
        empty = [""] * len(rows.columns[ITEM_ID])
        for field in ItemColumns._fields:
            columns[field] += rows.columns.get(field, empty)
    ids = columns[ITEM_ID]
    seen = {"", PADDING}
    for row, token in enumerate(ids):
        if token in seen:
            raise FileRows(path, 2, {}).mistake(row, ITEM_ID, "a unique id", f"'{token}'")
        seen.add(token)
    return ItemColumns(**columns)


def read_news_file(path: Path) -> pd.DataFrame:
    """Articles of parquet, csv, tsv (with header) or ``.item``; ``ValueError`` if unreadable."""
    if path.name.removesuffix(".gz").endswith(".item"):
        return pd.DataFrame(read_news(path)._asdict())
    return read_table(path, " or .item")


def publication_times(path: Path, news: ItemColumns) -> NDArray[np.float64] | None:
    """UTC seconds of publication, ``[news]``, NaN if unknown; ``None`` if all are."""
    if not any(news.published):
        return None
    return _numbers(FileRows(path, 2, {}), PUBLISHED, news.published, "UTC seconds")


class Indices:
    """Numbers of the ids in the files of a data set; those of ``news`` come first."""

    def __init__(self, news: Sequence[str] = ()) -> None:
        self.news, self.users = TokenIndex(), TokenIndex()
        self.news.ids(news)
        self.context = {name: TokenIndex() for name in CONTEXT if is_token(name)}
        self.context[CONTEXT_ARTICLE] = self.news


def read_impressions(path: Path, indices: Indices) -> Iterator[Impressions]:
    """Blocks of ``NAME.<split>.inter``; unknown ids get new numbers; ``ValueError`` if wrong."""
    for rows in _read(path, INTER, progress=True):
        history, candidates = _token_rows(rows, (HISTORY, CANDIDATES), indices.news)
        yield Impressions(
            np.array(rows.columns[IMPRESSION_ID], dtype=str),
            _users(rows, indices.users),
            _timestamps(rows),
            history,
            candidates,
            _labels(rows, candidates.lengths),
            columns={name: _context(rows, name, indices) for name in CONTEXT},
        )


def concatenate(blocks: Iterable[Impressions]) -> Impressions:
    """Impressions of all blocks, in order."""
    parts = [block.arrays() for block in (NO_IMPRESSIONS, *blocks)]
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[-1]}
    return Impressions.of_arrays(with_offsets(arrays))


_NO_TOKENS = Ragged(np.zeros(0, np.int32), np.zeros(1, np.int64))
NO_IMPRESSIONS = Impressions(
    np.zeros(0, dtype=str),
    np.zeros(0, np.int32),
    np.zeros(0, np.int64),
    _NO_TOKENS,
    _NO_TOKENS,
    np.zeros(0, np.int8),
    columns={name: np.zeros(0, np.int32 if is_token(name) else np.float32) for name in CONTEXT},
)


def _read(path: Path, columns: tuple[str, ...], progress: bool = False) -> Iterator[FileRows]:
    """Blocks of ``ROWS_AT_ONCE`` rows; ``columns`` are required."""
    required = typed(columns)
    lines = read_lines(path, progress)
    header = next(lines, "").split("\t")
    missing = [name for name in required if name not in header]
    if missing:
        raise ValueError(
            f"{path}, line 1, expects the columns {', '.join(required)}, got {header} (missing: "
            f"{', '.join(missing)}). Convert MIND with recbole-tinynews convert."
        )
    names = [name.split(":")[0] for name in header]
    first_line = 2
    while fields := [line.split("\t") for line in islice(lines, ROWS_AT_ONCE)]:
        for row, found in enumerate(fields):
            if len(found) != len(names):
                raise ValueError(
                    f"{path}, line {first_line + row}, expects {len(names)} tab-separated "
                    f"columns, got {len(found)}. Convert the data set again with "
                    "recbole-tinynews convert."
                )
        yield FileRows(path, first_line, dict(zip(names, zip(*fields, strict=True), strict=True)))
        first_line += len(fields)


def _counts(texts: Sequence[str]) -> NDArray[np.int64]:
    return np.fromiter((t.count(" ") + 1 if t else 0 for t in texts), np.int64, len(texts))


def _words(texts: Sequence[str]) -> list[str]:
    joined = " ".join(filter(None, texts))
    return joined.split(" ") if joined else []


def _token_rows(rows: FileRows, columns: Sequence[str], index: TokenIndex) -> list[Ragged]:
    """Ids of each column; new tokens are numbered by row, for any block size."""
    texts = [
        text for row in zip(*(rows.columns[name] for name in columns), strict=True) for text in row
    ]
    ids = index.ids(_words(texts))
    if "" in index:
        place = next(i for i, text in enumerate(texts) if text and "" in text.split(" "))
        row, column = divmod(place, len(columns))
        expected = "ids separated by single spaces"
        raise rows.mistake(row, columns[column], expected, f"'{texts[place]}'")
    if not ids.all():  # the id of an empty slot
        place = next(i for i, text in enumerate(texts) if PADDING in text.split(" "))
        row, column = divmod(place, len(columns))
        raise rows.mistake(row, columns[column], f"no id {PADDING}, which means padding", "one")
    every = Ragged.from_lengths(ids, _counts(texts))
    return [every.take(np.arange(i, every.rows, len(columns))) for i in range(len(columns))]


def _users(rows: FileRows, index: TokenIndex) -> NDArray[np.int32]:
    (ids,) = _token_rows(rows, (USER_ID,), index)
    for row in np.flatnonzero(ids.lengths != 1).tolist():
        raise rows.mistake(row, USER_ID, "an id", f"'{rows.columns[USER_ID][row]}'")
    return ids.values


def _context(rows: FileRows, name: str, indices: Indices) -> NDArray[Any]:
    """A column of the page and the visit; 0, or NaN of a number, where it is unknown."""
    texts = rows.columns.get(name, [""] * len(rows.columns[USER_ID]))
    if is_token(name):
        return indices.context[name].ids([text or PADDING for text in texts])
    return _numbers(rows, name, texts, "a number or nothing").astype(np.float32)


def _timestamps(rows: FileRows) -> NDArray[np.int64]:
    seconds = _numbers(rows, TIMESTAMP, rows.columns[TIMESTAMP], "UTC seconds")
    for row in np.flatnonzero(np.isnan(seconds)).tolist():
        raise rows.mistake(row, TIMESTAMP, "UTC seconds", "''")
    return seconds.astype(np.int64)


def _numbers(
    rows: FileRows, column: str, texts: Sequence[str], expected: str
) -> NDArray[np.float64]:
    """The texts as numbers, NaN where they are empty."""
    numbers = np.fromiter(map(_number, texts), np.float64, len(texts))
    for row in np.flatnonzero(~(np.abs(numbers) < LATEST)).tolist():  # includes NaN
        if text := texts[row]:
            raise rows.mistake(row, column, expected, f"'{text}'")
    return numbers


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _labels(rows: FileRows, candidates: NDArray[np.int64]) -> NDArray[np.int8]:
    texts = rows.columns[LABELS]
    given = _counts(texts)
    wrong = np.flatnonzero((given != candidates) & (given > 0))
    if len(wrong):
        row = int(wrong[0])
        expected = f"one label for each of the {candidates[row]} candidates or none at all"
        raise rows.mistake(row, LABELS, expected, str(given[row]))
    words = _words(texts)
    try:
        values = np.fromiter(map(LABEL_VALUES.__getitem__, words), np.int8, len(words))
    except KeyError as unknown:
        label = unknown.args[0]
        row = next(i for i, text in enumerate(texts) if text and label in text.split(" "))
        raise rows.mistake(row, LABELS, "labels 0 and 1", f"'{label}'") from None
    labels = np.full(int(candidates.sum()), UNLABELLED, dtype=np.int8)
    labels[np.repeat(given > 0, candidates)] = values
    return labels


def check_articles(file: Path, news: ItemColumns) -> Iterator[str]:
    """Warnings about the texts of ``NAME.item``; ``ValueError`` if there are no articles."""
    if not news.item_id:
        raise ValueError(
            f"{file} expects articles, got only a header. Convert the data set again with "
            "recbole-tinynews convert."
        )
    titles, abstracts = (list(filter(None, texts)) for texts in (news.title, news.abstract))
    if not titles:
        yield f"{file}: all {len(news.title)} titles are empty"
    elif abstracts and fmean(map(len, titles)) > LONGER * fmean(map(len, abstracts)):
        yield (
            f"{file}: titles are longer than abstracts, {fmean(map(len, titles)):.0f} characters "
            f"on average and {fmean(map(len, abstracts)):.0f}. Are the two columns swapped?"
        )


def check_candidates(file: Path, candidates: NDArray[np.int32], known: int) -> Iterator[str]:
    """A warning if many (``ValueError`` if all) candidates have no row among the ``known`` ids."""
    unknown = float((candidates >= known).mean()) if len(candidates) else 0.0
    if unknown == 1:
        raise ValueError(
            f"{file} expects candidates of the .item file beside it, but it has none of the "
            f"{len(candidates):,}. The two files are of different data sets: convert them together."
        )
    if unknown >= MANY_UNKNOWN:
        yield f"{file}: {unknown:.0%} of the candidates are not in the .item file and have no text"
