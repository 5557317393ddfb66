"""Reads tables of users in parts, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from recbole_tinynews.serving.libraries import library

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ENDS = 1 << 20  # bytes hashed at a file's start and end, where parquet has its index
CHUNK = 100_000  # rows read at once


class Part(NamedTuple):
    """Consecutive rows of a file of users."""

    number: int
    file: Path
    start: int
    stop: int  # exclusive


class UserFile:
    """Users in parts of ``rows`` from parquet (file or folder) or csv; each file ends a part."""

    def __init__(self, path: Path, rows: int) -> None:
        if not path.exists():
            raise FileNotFoundError(f"Users are expected in {path.absolute()}: nothing is there.")
        self.files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not self.files:
            raise FileNotFoundError(f"{path.absolute()} expects parquet files of users, has none.")
        self.lengths = [_rows_of(file) for file in self.files]
        ranges = (
            (file, start, min(start + rows, length))
            for file, length in zip(self.files, self.lengths, strict=True)
            for start in range(0, length, rows)
        )
        self.parts = [Part(number, *each) for number, each in enumerate(ranges)]

    def read(self, part: Part, rows: int) -> Iterator[pd.DataFrame]:
        """The rows of a part, at most ``rows`` at a time."""
        if not _is_csv(part.file):
            yield from _read_parquet(part, rows)
            return
        at = 0  # counted, as a number of lines to skip would count blank ones too
        for chunk in _csv_chunks(part.file, rows):
            start, stop = max(part.start - at, 0), min(part.stop - at, len(chunk))
            at += len(chunk)
            if start < stop:
                yield chunk[start:stop]
            if at >= part.stop:
                return


def content_of(files: Sequence[Path]) -> Iterator[str | bytes]:
    """Size, start and end of each file, which identify tables without reading them in full."""
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"A table is expected in {file.absolute()}: nothing is there.")
        size = file.stat().st_size
        yield str(size)
        with file.open("rb") as opened:
            yield opened.read(ENDS)
            opened.seek(max(0, size - ENDS))
            yield opened.read(ENDS)


def read_rows_of(path: Path, column: str, values: pd.Series) -> pd.DataFrame:
    """Rows with one of the values in ``column``, in file order; 7, 7.0 and "7" are the same."""
    wanted, found = {_as_text(each): each for each in values.tolist()}, []
    for chunk in _csv_chunks(path) if _is_csv(path) else _parquet_chunks(path):
        if column not in chunk.columns:
            raise ValueError(f"{path} expects a column {column}, has {', '.join(chunk.columns)}.")
        row, distinct = pd.factorize(chunk[column])  # missing ones have the row -1, the last
        names = [_as_text(each) for each in distinct.tolist()]
        known = np.array([*(name in wanted for name in names), False])[row]
        given = np.array([*map(wanted.get, names), None], object)[row]
        found.append(chunk.assign(**{column: given})[known])
    return pd.concat(found, ignore_index=True)


def _as_text(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer()  # of a column with missing numbers
    return str(int(value) if whole else value)


def _csv_chunks(path: Path, rows: int = CHUNK) -> Iterator[pd.DataFrame]:
    with pd.read_csv(path, chunksize=rows, dtype=str, keep_default_na=False) as chunks:
        yield from chunks


def _parquet_chunks(path: Path) -> Iterator[pd.DataFrame]:
    for batch in _parquet(path).iter_batches(CHUNK):
        yield batch.to_pandas()


def _is_csv(path: Path) -> bool:
    name = path.name.removesuffix(".gz")
    if not name.endswith((".csv", ".parquet")):
        raise ValueError(f"{path} expects a name that ends in .parquet or .csv.")
    return name.endswith(".csv")


def _rows_of(path: Path) -> int:
    if not _is_csv(path):
        return _parquet(path).metadata.num_rows
    return sum(len(chunk) for chunk in _csv_chunks(path))


def _read_parquet(part: Part, rows: int) -> Iterator[pd.DataFrame]:
    file = _parquet(part.file)
    lengths = [file.metadata.row_group(each).num_rows for each in range(file.num_row_groups)]
    bounds = [*pairwise(accumulate(lengths, initial=0))]  # start and stop row of each row group
    groups = [
        n for n, (start, stop) in enumerate(bounds) if start < part.stop and stop > part.start
    ]
    at = bounds[groups[0]][0]
    for batch in file.iter_batches(rows, row_groups=groups):
        start, stop = max(part.start - at, 0), min(part.stop - at, len(batch))
        at += len(batch)
        if start < stop:
            yield batch.slice(start, stop - start).to_pandas()


def _parquet(path: Path) -> pq.ParquetFile:
    pa = library("pyarrow", "Parquet", "pyarrow. Csv files need nothing more.")
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as problem:
        raise ValueError(f"{path} is not a parquet file, or is truncated: {problem}") from problem
