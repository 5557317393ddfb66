"""Tables in csv, tsv or parquet files: read whole or in parts, written part after part."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import partial
from itertools import chain
from pathlib import Path

import pandas as pd

from recbole_tinynews.files.installation import library
from recbole_tinynews.files.lines import untrusted

SEPARATORS = {".csv": ",", ".tsv": "\t"}
# however many separators end a row, no column is an index
read_texts = partial(pd.read_csv, dtype=str, keep_default_na=False, index_col=False)


def read_table(path: Path, or_else: str = "") -> pd.DataFrame:
    """A table with a header; ``ValueError`` if unreadable. ``or_else`` names other kinds."""
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind == ".parquet":
        library("pyarrow", "Parquet", "parquet")
        return pd.read_parquet(path)
    if kind not in SEPARATORS:
        raise ValueError(
            f"{path} expects .parquet, .csv, .tsv (with a header){or_else}, got its name."
        )
    with untrusted(path), warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
        return read_texts(path, sep=SEPARATORS[kind])


def is_csv(path: Path) -> bool:
    """Whether a file is csv; ``ValueError`` if it is no parquet either."""
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"{path} expects a name that ends in .parquet or .csv.")
    return path.suffix == ".csv"


def table_parts(path: Path, rows: int) -> Iterable[pd.DataFrame]:
    """A table in parts of so many rows; errors as for ``is_csv`` and ``untrusted``."""
    if is_csv(path):
        with untrusted(path):
            return read_texts(path, chunksize=rows)
    pa, parquet = (library(n, "Parquet", "parquet") for n in ("pyarrow", "pyarrow.parquet"))
    whole = {pa.int64(): pd.Int64Dtype()}  # an id stays whole beside a missing one
    with untrusted(path):
        batches = parquet.ParquetFile(path).iter_batches(rows)
    return (batch.to_pandas(types_mapper=whole.get) for batch in batches)


def write_parts(
    tables: Iterable[pd.DataFrame], path: Path, empty: pd.DataFrame, as_csv: bool
) -> None:
    """Write tables one after the other; the first with rows, or ``empty``, has the types of all."""
    filled = (table for table in tables if len(table))
    first = next(filled, empty)
    if as_csv:
        for number, table in enumerate(chain([first], filled)):
            table.to_csv(path, index=False, header=not number, mode="a")
        return
    pa, parquet = (library(n, "Parquet", "parquet") for n in ("pyarrow", "pyarrow.parquet"))
    schema = pa.Schema.from_pandas(first, preserve_index=False)
    with parquet.ParquetWriter(path, schema) as file:
        for table in chain([first], filled):
            file.write_table(pa.Table.from_pandas(table, schema, preserve_index=False))
