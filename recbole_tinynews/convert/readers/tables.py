"""Tables with named columns: csv and tsv (quoted where needed, plain or gzip), parquet."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from recbole_tinynews.convert.errors import (
    ConversionError,
    LineError,
    OnBadLine,
    quoted,
    readable,
)
from recbole_tinynews.files.lines import LONGEST_LINE, read_line_batches
from recbole_tinynews.files.parquet import ANY, column_names, read_rows

KINDS = "a .csv, .tsv or .parquet file"
PARQUET = ".parquet"
DELIMITERS = {".csv": ",", ".tsv": "\t"}


def is_table(path: Path) -> bool:
    """Whether the file name has a table's extension."""
    return path.suffix == PARQUET or _delimiter(path) is not None


def names_of(path: Path) -> list[str]:
    """Column names; ``ConversionError`` if the file is unreadable or a name occurs twice."""
    with readable(path):
        return column_names(path) if path.suffix == PARQUET else _header(path)


def read_table(
    path: Path, columns: Collection[str], on_bad_line: OnBadLine
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row numbers (csv and tsv: of the first line), from 1, and cells by column."""
    with readable(path):
        if path.suffix == PARQUET:
            yield from read_rows(path, dict.fromkeys(columns, ANY))
        else:
            yield from _records(path, on_bad_line)


def _delimiter(path: Path) -> str | None:
    """The delimiter implied by the file name; None if neither csv nor tsv."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return DELIMITERS.get(suffixes[-1]) if suffixes else None


def _header(path: Path) -> list[str]:
    try:
        names: list[str] = next(_reader(path), [])
    except csv.Error as error:
        raise ConversionError(f"{path}:1: expected names of columns, got: {error}.") from error
    if not names:
        raise ConversionError(f"{path}: expected names of columns in its first line, got none.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConversionError(f"{path}:1: expected each column once, got {quoted(twice)} again.")
    return names


def _records(path: Path, on_bad_line: OnBadLine) -> Iterator[tuple[int, dict[str, str]]]:
    names = _header(path)
    reader = _reader(path, progress=True)
    next(reader)
    while True:
        before = reader.line_num
        try:
            fields = next(reader)
            _check(fields, names)
        except StopIteration:
            return
        except (csv.Error, LineError) as error:
            bad = error if isinstance(error, LineError) else _of_csv(error)
            bad.lines = reader.line_num - before
            on_bad_line(bad.at(path, before + 1))
        else:
            yield before + 1, dict(zip(names, fields, strict=True))


def _reader(path: Path, progress: bool = False) -> Any:
    """A csv reader, which counts lines in ``line_num``."""
    # invalid bytes become surrogates, detected once the record is complete
    lines = (
        line.decode("utf-8", "surrogateescape").replace("\0", "\udc00") + "\n"
        for batch in read_line_batches(path, progress)
        for line in batch
    )
    csv.field_size_limit(LONGEST_LINE)  # process-wide; some bodies exceed the default
    delimiter = _delimiter(path)
    assert delimiter is not None, "refused with the options"
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _check(fields: list[str], names: list[str]) -> None:
    if len(fields) != len(names):
        raise LineError(
            "wrong number of columns",
            f"expected {len(names)} columns ({', '.join(names)}), got {len(fields)} in "
            f"{quoted(str(fields))}.",
        )
    for name, field in zip(names, fields, strict=True):
        if not field.isascii() and any("\ud800" <= letter <= "\udfff" for letter in field):
            what = "a NUL byte" if "\udc00" in field else "other bytes"
            kind = "NUL byte" if "\udc00" in field else "invalid UTF-8"
            raise LineError(kind, f"expected UTF-8, got {what} in {quoted(field)}.", name)


def _of_csv(error: csv.Error) -> LineError:
    return LineError("broken quotes", f"expected cells, quoted where needed, got: {error}.")
