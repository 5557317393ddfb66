"""Records of a csv or tsv with a header, quoted where needed, plain or gzip."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recbole_tinynews.convert.errors import ConversionError, LineError, quoted
from recbole_tinynews.convert.records import OnBadLine
from recbole_tinynews.files.lines import LONGEST_LINE, read_line_batches

DELIMITERS = {".csv": ",", ".tsv": "\t"}


class Record(NamedTuple):
    """The cells of a record by column, and the number of its first line, from 1."""

    line: int
    cells: dict[str, str]


def delimiter_of(path: Path) -> str | None:
    """What stands between the cells, by the file's name; None: it is named as something else."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return DELIMITERS.get(suffixes[-1]) if suffixes else None


def header_of(path: Path) -> list[str]:
    """The names of the columns.

    Raises:
        ConversionError: the file can't be read, or its first line is no header.
    """
    with_lines = _Lines(path)
    try:
        names = next(_reader(path, with_lines), [])
    except csv.Error as error:
        raise ConversionError(f"{path}:1: expected names of columns, got: {error}.") from error
    if not names:
        raise ConversionError(f"{path}: expected names of columns in its first line, got none.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConversionError(f"{path}:1: expected each column once, got {quoted(twice)} again.")
    return names


def read_records(path: Path, on_bad_line: OnBadLine) -> Iterator[Record]:
    """The records below the header.

    Raises:
        ConversionError: the file can't be read.
    """
    names = header_of(path)
    lines = _Lines(path, progress=True)
    reader = _reader(path, lines)
    next(reader)
    while True:
        before = lines.number
        try:
            fields = next(reader)
            _check(fields, names)
        except StopIteration:
            return
        except (csv.Error, LineError) as error:
            bad = error if isinstance(error, LineError) else _of_csv(error)
            bad.lines = lines.number - before
            on_bad_line(bad.at(path, before + 1))
        else:
            yield Record(before + 1, dict(zip(names, fields, strict=True)))


class _Lines:
    """The lines of a file as the csv module wants them, counted."""

    def __init__(self, path: Path, progress: bool = False) -> None:
        self.number = 0
        self._path, self._progress = path, progress

    def __iter__(self) -> Iterator[str]:
        try:
            for batch in read_line_batches(self._path, self._progress):
                for line in batch:
                    self.number += 1
                    # a bad byte becomes a surrogate, and is found when the record is whole
                    yield line.decode("utf-8", "surrogateescape").replace("\0", "\udc00") + "\n"
        except ValueError as error:
            raise ConversionError(str(error)) from error
        except OSError as error:
            raise ConversionError(
                f"{self._path}: expected a readable file, got: {error}."
            ) from error


def _reader(path: Path, lines: _Lines) -> Iterator[list[str]]:
    csv.field_size_limit(LONGEST_LINE)  # of the process; the default is shorter than some bodies
    delimiter = delimiter_of(path)
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
