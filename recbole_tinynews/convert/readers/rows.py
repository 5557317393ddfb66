"""Read rows of a tab-separated file without header and quoting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from recbole_tinynews.convert.errors import EXAMPLES, ConversionError, LineError, quoted
from recbole_tinynews.convert.readers.parsed import parsed
from recbole_tinynews.convert.records import OnBadLine
from recbole_tinynews.files.lines import read_line_batches


class TsvRow(NamedTuple):
    """The fields of one line, and its number from 1."""

    number: int
    fields: list[str]


class RawLine(NamedTuple):
    """The bytes of one line, and its number from 1."""

    number: int
    line: bytes


def read_rows(path: Path, columns: Sequence[str], on_bad_line: OnBadLine) -> Iterator[TsvRow]:
    """The rows of a plain or gzip file; ``columns`` are the names for error messages."""

    def split(number: int, line: bytes) -> TsvRow:
        return TsvRow(number, _split(line, columns))

    number = 0
    for lines in _read_batches(path):
        if len(lines) > EXAMPLES and not any(lines):
            number += _skip_empty(len(lines) - EXAMPLES, columns, path, number, on_bad_line)
            lines = lines[:EXAMPLES]
        yield from parsed(path, enumerate(lines, number + 1), split, on_bad_line)
        number += len(lines)
    if number == 0:
        raise ConversionError(f"{path}: expected rows of {_listed(columns)}, got an empty file.")


def read_rows_below_header(
    path: Path, columns: Sequence[str], on_bad_line: OnBadLine
) -> Iterator[TsvRow]:
    """The rows of a file whose first line may be a header of just these columns."""
    for row in read_rows(path, columns, on_bad_line):
        if row.number > 1 or row.fields != list(columns):
            yield row


def _skip_empty(
    count: int,
    columns: Sequence[str],
    path: Path,
    before: int,
    on_bad_line: OnBadLine,
) -> int:
    """Handle that many empty lines as one; returns their number."""
    try:
        _split(b"", columns)
    except LineError as error:
        error.lines = count
        on_bad_line(error.at(path, before + 1))
    return count


def read_raw_lines(path: Path) -> Iterator[RawLine]:
    """The lines of a plain or gzip file.

    Raises:
        ConversionError: it can't be read, or is empty.
    """
    number = 0
    for lines in _read_batches(path):
        for line in lines:
            number += 1
            yield RawLine(number, line)
    if number == 0:
        raise ConversionError(f"{path}: expected lines, got an empty file.")


def text_of_line(line: bytes) -> str:
    """The text of a line.

    Raises:
        LineError: it is no UTF-8, or has a NUL byte.
    """
    if b"\0" in line:
        raise LineError("NUL byte", f"expected text, got a NUL byte at byte {line.index(0) + 1}.")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LineError(
            "invalid UTF-8",
            f"expected UTF-8, got {line[error.start : error.start + 4]!r} at byte "
            f"{error.start + 1} of the line ({error.reason}).",
        ) from None


def _split(line: bytes, columns: Sequence[str]) -> list[str]:
    text = text_of_line(line)
    fields = text.split("\t")
    if len(fields) != len(columns):
        raise LineError(
            "wrong number of columns",
            f"expected {len(columns)} tab-separated columns ({_listed(columns)}), got "
            f"{len(fields)} in {quoted(text)}.",
        )
    return fields


def _read_batches(path: Path) -> Iterator[list[bytes]]:
    try:
        yield from read_line_batches(path, progress=True)
    except ValueError as error:
        raise ConversionError(str(error)) from error
    except OSError as error:
        raise ConversionError(f"{path}: expected a readable file, got: {error}.") from error


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns)
