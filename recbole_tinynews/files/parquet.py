"""Stream the rows of a parquet file as Python values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recbole_tinynews.bars import progress_bar
from recbole_tinynews.files.installation import pip_install

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_AT_ONCE = 16_384

Row = tuple[int, dict[str, Any]]  # number, from 1, and cells: times in UTC seconds, None if missing


class Kind(NamedTuple):
    """Allowed type of a column: a description, and a check of the Arrow type."""

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
    """Column names; ``ValueError`` if the file is unreadable or a name occurs twice."""
    with _opened(path) as file:
        return list(file.schema_arrow.names)


def read_rows(
    path: Path,
    required: Mapping[str, Kind],
    optional: Mapping[str, Kind] | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Iterator[Row]:
    """Rows without missing ``optional`` columns; ``ValueError`` for an unfit file or column."""
    with _opened(path) as file:
        kinds = {**required, **(optional or {})}
        present = [name for name in kinds if name in file.schema_arrow.names]
        _check_columns(path, file.schema_arrow, required, {name: kinds[name] for name in present})
        name, count = "/".join(path.parts[-2:]), file.metadata.num_rows
        with progress_bar(desc=name, total=count, unit=" rows", leave=False) as bar:
            before = 0
            for batch in file.iter_batches(rows_at_once, columns=present):
                columns = [cells_of(batch.column(name)) for name in present]
                for number, cells in enumerate(zip(*columns, strict=True), before + 1):
                    yield number, dict(zip(present, cells, strict=True))
                before += batch.num_rows
                bar.update(batch.num_rows)


def cells_of(column: pa.Array) -> list[Any]:
    """Cells of a column as Python values, in bulk where the type allows."""
    import pyarrow as pa

    types = pa.types
    if _is_list(column.type):
        bounds = column.offsets.to_numpy()  # into all values; the column may be a slice
        first, end = int(bounds[0]), int(bounds[-1])
        values = cells_of(column.values.slice(first, end - first))
        offsets = (bounds - first).tolist()
        known = column.is_valid().to_pylist() if column.null_count else [True] * len(column)
        parts = zip(known, offsets[:-1], offsets[1:], strict=True)
        return [values[start:end] if valid else None for valid, start, end in parts]
    if types.is_timestamp(column.type):
        a_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
        units = column.cast(pa.int64()).fill_null(0).to_numpy()
        seconds = np.floor_divide(units, a_second).tolist()
        if column.null_count:
            known = column.is_valid().to_pylist()
            return [each if valid else None for each, valid in zip(seconds, known, strict=True)]
        return seconds
    if types.is_integer(column.type) and not column.null_count:
        return column.to_numpy().tolist()
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return column.to_pylist()
    except UnicodeDecodeError:  # invalid bytes become surrogates, which row checks detect
        cells = column.cast(pa.large_binary()).to_pylist()
        return [cell and cell.decode("utf-8", "surrogateescape") for cell in cells]


def _check_columns(
    path: Path, schema: pa.Schema, required: Iterable[str], kinds: Mapping[str, Kind]
) -> None:
    if missing := [name for name in required if name not in schema.names]:
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
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path}: expected pyarrow, which reads it and is not installed. Install the extra "
            f"`parquet`: {pip_install('parquet')}"
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
            f"{path}: expected a complete parquet file, got: {error}. Copy it again."
        ) from error
