"""Stream the rows of a parquet file as Python values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from recbole_tinynews.files.installation import library
from recbole_tinynews.files.progress import progress_bar

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_AT_ONCE = 16_384

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
                columns = [_cells(batch.column(name)) for name in present]
                for number, cells in enumerate(zip(*columns, strict=True), before + 1):
                    yield number, dict(zip(present, cells, strict=True))
                before += batch.num_rows
                bar.update(batch.num_rows)


def vectors_of_rows(path: Path, name: str, vector: str) -> Iterator[tuple[list[str], NDArray[Any]]]:
    """Cells of column ``name`` and the lists of numbers of ``vector``, a part at a time."""
    with _opened(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=[name, vector]):
            lists = batch.column(vector)
            sizes = {len(numbers) for numbers in lists.to_pandas() if numbers is not None}
            if len(sizes) != 1 or lists.null_count:
                raise ValueError(
                    f"{path}: expected lists of one length in {vector}, got lengths "
                    f"{', '.join(map(str, sorted(sizes)))} and {lists.null_count} missing ones."
                )
            numbers = lists.flatten().to_numpy(zero_copy_only=False)
            yield [*map(str, batch.column(name).to_pylist())], numbers.reshape(len(lists), -1)


def _cells(column: pa.Array) -> list[Any]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    elif pa.types.is_list(kind) and pa.types.is_timestamp(kind.value_type):
        column = column.cast(pa.list_(pa.int64()))  # in their own unit, to sort
    try:
        return column.to_pylist()
    except UnicodeDecodeError:  # invalid bytes become surrogates, which row checks detect
        cells = column.cast(pa.large_binary()).to_pylist()
        return [cell and cell.decode("utf-8", "surrogateescape") for cell in cells]


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    pa, pq = (library(name, str(path), "parquet") for name in ("pyarrow", "pyarrow.parquet"))
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
