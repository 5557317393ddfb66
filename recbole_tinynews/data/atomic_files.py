"""Reader of atomic files, whose fields are raw text without quoting or missing-value markers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.impressions import UNLABELLED, Impressions
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.files.columns import (
    CANDIDATES,
    CATEGORY,
    CONTEXT,
    CONTEXT_ARTICLE,
    DEVICE,
    HISTORY,
    IMPRESSION_ID,
    INTER,
    ITEM_ID,
    LABELS,
    PADDING,
    PUBLISHED,
    SESSION,
    SUBCATEGORY,
    SUBSCRIBER,
    TIMESTAMP,
    TITLE,
    USER_ID,
    typed,
)
from recbole_tinynews.files.lines import read_lines

REQUIRED_OF_ITEMS = (ITEM_ID, CATEGORY, SUBCATEGORY, TITLE)
LABEL_VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
LATEST = 2**53  # seconds; floats are exact up to here
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
            f"{got}. Convert the data set again with python -m recbole_tinynews.convert."
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


def publication_times(path: Path, news: ItemColumns) -> NDArray[np.float64] | None:
    """UTC seconds of publication, ``[news]``, NaN if unknown; ``None`` if all are."""
    if not any(news.published):
        return None
    times = np.full(len(news.published), np.nan)
    for row, text in enumerate(news.published):
        if text:
            times[row] = _seconds(text)
            if not abs(times[row]) < LATEST:  # includes NaN
                raise FileRows(path, 2, {}).mistake(row, PUBLISHED, "UTC seconds", f"'{text}'")
    return times


class Indices:
    """Numbers of the ids in the files of a data set; those of ``news`` come first."""

    def __init__(self, news: Sequence[str] = ()) -> None:
        self.news, self.users = TokenIndex(), TokenIndex()
        self.devices, self.sessions = TokenIndex(), TokenIndex()
        self.news.ids(news)


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
            columns=_context(rows, indices),
        )


def concatenate(blocks: Iterable[Impressions]) -> Impressions:
    """Impressions of all blocks, in order."""
    parts = [NO_IMPRESSIONS, *blocks]
    return Impressions(
        np.concatenate([part.impression_id for part in parts]),
        np.concatenate([part.user for part in parts]),
        np.concatenate([part.timestamp for part in parts]),
        Ragged.concatenate([part.history for part in parts]),
        Ragged.concatenate([part.candidates for part in parts]),
        np.concatenate([part.labels for part in parts]),
        columns={
            name: np.concatenate([part.columns[name] for part in parts])
            for name in parts[-1].columns
        },
    )


_NO_TOKENS = Ragged(np.zeros(0, np.int32), np.zeros(1, np.int64))
NO_IMPRESSIONS = Impressions(
    np.zeros(0, dtype=str),
    np.zeros(0, np.int32),
    np.zeros(0, np.int64),
    _NO_TOKENS,
    _NO_TOKENS,
    np.zeros(0, np.int8),
    columns={
        **dict.fromkeys((CONTEXT_ARTICLE, DEVICE, SESSION), np.zeros(0, np.int32)),
        SUBSCRIBER: np.zeros(0, np.float32),
    },
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
            f"{', '.join(missing)}). Convert MIND with python -m recbole_tinynews.convert."
        )
    names = [name.split(":")[0] for name in header]
    first_line = 2
    while fields := [line.split("\t") for line in islice(lines, ROWS_AT_ONCE)]:
        for row, found in enumerate(fields):
            if len(found) != len(names):
                raise ValueError(
                    f"{path}, line {first_line + row}, expects {len(names)} tab-separated "
                    f"columns, got {len(found)}. Convert the data set again with "
                    "python -m recbole_tinynews.convert."
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
    texts = rows.columns[USER_ID]
    ids = index.ids(texts)
    if "" in index:
        raise rows.mistake(texts.index(""), USER_ID, "an id", "''")
    if not ids.all():
        row = texts.index(PADDING)
        raise rows.mistake(row, USER_ID, f"no id {PADDING}, which means padding", "one")
    return ids


def _context(rows: FileRows, indices: Indices) -> dict[str, NDArray[Any]]:
    """Columns of the page and the visit; 0, and NaN of ``subscriber``, where they are unknown."""
    empty = [""] * len(rows.columns[USER_ID])
    every = [rows.columns.get(name, empty) for name in CONTEXT]
    indexed = zip(every, (indices.news, indices.devices, indices.sessions), strict=False)
    ids = [index.ids([text or PADDING for text in texts]) for texts, index in indexed]
    subscriber = np.fromiter(map(_seconds, every[-1]), np.float32, len(empty))
    for row in np.flatnonzero(np.isnan(subscriber)).tolist():
        if text := every[-1][row]:
            raise rows.mistake(row, SUBSCRIBER, "a number or nothing", f"'{text}'")
    return dict(zip(CONTEXT, [*ids, subscriber], strict=True))


def _timestamps(rows: FileRows) -> NDArray[np.int64]:
    texts = rows.columns[TIMESTAMP]
    seconds = np.fromiter(map(_seconds, texts), np.float64, len(texts))
    wrong = np.flatnonzero(~(np.abs(seconds) < LATEST))  # includes NaN
    if len(wrong):
        row = int(wrong[0])
        raise rows.mistake(row, TIMESTAMP, "UTC seconds", f"'{texts[row]}'")
    return seconds.astype(np.int64)


def _seconds(text: str) -> float:
    """The text as a number, NaN if it is none."""
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
