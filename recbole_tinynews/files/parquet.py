"""Rows of a parquet file as Python values, a part of a row group at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recbole_tinynews.bars import progress_bar

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_AT_ONCE = 16_384


class Row(NamedTuple):
    """A row's number, from 1, and its cells by column: times in UTC seconds, None where missing."""

    number: int
    cells: dict[str, Any]


class Kind(NamedTuple):
    """What a column may hold, in words and as a check of its Arrow type."""

    words: str
    fits: Callable[[pa.DataType], bool]


def _is_id(kind: pa.DataType) -> bool:
    return _types().is_integer(kind) or _is_text(kind)


def _is_text(kind: pa.DataType) -> bool:
    types = _types()
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return types.is_string(kind) or types.is_large_string(kind)


def _is_list(kind: pa.DataType) -> bool:
    return _types().is_list(kind) or _types().is_large_list(kind)


def _types() -> Any:
    import pyarrow as pa

    return pa.types


ID = Kind("whole numbers or text", _is_id)
IDS = Kind(
    "lists of whole numbers or text", lambda kind: _is_list(kind) and _is_id(kind.value_type)
)
TIME = Kind("timestamps", lambda kind: _types().is_timestamp(kind))
TIMES = Kind("lists of timestamps", lambda kind: _is_list(kind) and TIME.fits(kind.value_type))
TEXT = Kind("text", _is_text)
FLAG = Kind("true or false", lambda kind: _types().is_boolean(kind))
ANY = Kind("anything", lambda kind: True)


def column_names(path: Path) -> list[str]:
    """The columns of a file.

    Raises:
        ValueError: it can't be read, or has a column twice.
    """
    with _opened(path) as file:
        return list(file.schema_arrow.names)


def read_rows(
    path: Path,
    required: Mapping[str, Kind],
    optional: Mapping[str, Kind] | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Iterator[Row]:
    """The rows of a file; missing columns of ``optional`` are left out of the cells.

    Raises:
        ValueError: the file can't be read, lacks a column, or has one twice or of another type.
    """
    with _opened(path) as file:
        kinds = {**required, **(optional or {})}
        there = [name for name in kinds if name in file.schema_arrow.names]
        _check_columns(path, file.schema_arrow, required, {name: kinds[name] for name in there})
        bar = progress_bar(
            desc="/".join(path.parts[-2:]), total=file.metadata.num_rows, unit=" rows", leave=False
        )
        with bar:
            before = 0
            for batch in file.iter_batches(rows_at_once, columns=there):
                columns = [cells_of(batch.column(name)) for name in there]
                for number, cells in enumerate(zip(*columns, strict=True), before + 1):
                    yield Row(number, dict(zip(there, cells, strict=True)))
                before += batch.num_rows
                bar.update(batch.num_rows)


def cells_of(column: pa.Array) -> list[Any]:
    """The cells of a column as Python values, in bulk where its type allows."""
    import pyarrow as pa

    types = pa.types
    if _is_list(column.type):
        bounds = column.offsets.to_numpy()  # of all values, while the column may be a part
        first, end = int(bounds[0]), int(bounds[-1])
        values = cells_of(column.values.slice(first, end - first))
        offsets = (bounds - first).tolist()
        there = column.is_valid().to_pylist() if column.null_count else [True] * len(column)
        parts = zip(there, offsets[:-1], offsets[1:], strict=True)
        return [values[start:end] if valid else None for valid, start, end in parts]
    if types.is_timestamp(column.type):
        a_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
        units = column.cast(pa.int64()).fill_null(0).to_numpy()
        seconds = np.floor_divide(units, a_second).tolist()
        if column.null_count:
            there = column.is_valid().to_pylist()
            return [each if valid else None for each, valid in zip(seconds, there, strict=True)]
        return seconds
    if types.is_integer(column.type) and not column.null_count:
        return column.to_numpy().tolist()
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return column.to_pylist()
    except UnicodeDecodeError:  # the bad bytes become surrogates, which the check of a row finds
        cells = column.cast(pa.large_binary()).to_pylist()
        return [cell and cell.decode("utf-8", "surrogateescape") for cell in cells]


def _check_columns(
    path: Path, schema: pa.Schema, required: Iterable[str], kinds: Mapping[str, Kind]
) -> None:
    missing = [name for name in required if name not in schema.names]
    if missing:
        raise ValueError(
            f"{path}: expected a column {' and a column '.join(missing)}, found "
            f"{', '.join(schema.names)}."
        )
    for name, kind in kinds.items():
        found = schema.field(name).type
        if not kind.fits(found):
            raise ValueError(f"{path}: column {name}: expected {kind.words}, found {found}.")


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """An open file; every error while it is read names it."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path}: expected pyarrow to read it with, and it is not installed. Install the extra "
            "`parquet`: pip install recbole-tinynews[parquet]"
        ) from error
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(
                    f"{path}: expected each column once, got {', '.join(twice)} again."
                )
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        raise ValueError(
            f"{path}: expected a whole parquet file, got: {error}. Copy it again."
        ) from error
