"""Stream the rows of a parquet file as Python values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_tinynews.files.installation import pip_install
from recbole_tinynews.files.progress import progress_bar

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_AT_ONCE = 16_384
_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

Row = tuple[int, dict[str, Any]]  # number, from 1, and cells: times in UTC seconds, None if missing


def column_names(path: Path) -> list[str]:
    """Column names; ``ValueError`` if the file is unreadable or a name occurs twice."""
    with _opened(path) as file:
        return list(file.schema_arrow.names)


def read_rows(
    path: Path,
    required: Iterable[str],
    optional: Iterable[str] = (),
    rows_at_once: int = ROWS_AT_ONCE,
    progress: bool = True,
) -> Iterator[Row]:
    """Rows without missing ``optional`` columns; ``ValueError`` for an unfit file."""
    required = [*required]
    with _opened(path) as file:
        names = file.schema_arrow.names
        if missing := [name for name in required if name not in names]:
            raise ValueError(
                f"{path}: expected a column {' and a column '.join(missing)}, found "
                f"{', '.join(names)}."
            )
        present = [name for name in (*required, *optional) if name in names]
        what = {"desc": "/".join(path.parts[-2:]), "total": file.metadata.num_rows}
        with progress_bar(shown=progress, unit=" rows", leave=False, **what) as bar:
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

    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        bounds = column.offsets.to_numpy()  # into all values; the column may be a slice
        first, end = int(bounds[0]), int(bounds[-1])
        values = cells_of(column.values.slice(first, end - first))
        cells = [values[start:stop] for start, stop in pairwise((bounds - first).tolist())]
    elif pa.types.is_timestamp(kind):
        units = column.cast(pa.int64()).fill_null(0).to_numpy()
        cells = np.floor_divide(units, _A_SECOND[kind.unit]).tolist()
    elif pa.types.is_integer(kind):
        cells = column.fill_null(0).to_numpy().tolist()
    else:
        cells = _cells(column.dictionary_decode() if pa.types.is_dictionary(kind) else column)
    if column.null_count:
        valid = column.is_valid().to_pylist()
        return [cell if there else None for cell, there in zip(cells, valid, strict=True)]
    return cells


def _cells(column: pa.Array) -> list[Any]:
    import pyarrow as pa

    try:
        return column.to_pylist()
    except UnicodeDecodeError:  # invalid bytes become surrogates, which row checks detect
        cells = column.cast(pa.large_binary()).to_pylist()
        return [cell and cell.decode("utf-8", "surrogateescape") for cell in cells]


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
