"""Rows of text files, and the parsing loop for rows of any file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from recbole_tinynews.convert.errors import (
    EXAMPLES,
    ConversionError,
    LineError,
    OnBadLine,
    quoted,
    readable,
)
from recbole_tinynews.files.lines import read_line_batches

Content = TypeVar("Content")
Record = TypeVar("Record")


def parsed(
    path: Path,
    rows: Iterable[tuple[int, Content]],
    parse: Callable[[int, Content], Record],
    on_bad_line: OnBadLine,
) -> Iterator[Record]:
    """Apply ``parse`` to numbers and rows, in order; its ``LineError`` goes to ``on_bad_line``."""
    for number, content in rows:
        try:
            record = parse(number, content)
        except LineError as error:
            on_bad_line(error.at(path, number))
        else:
            yield record


def read_rows(
    path: Path, columns: Sequence[str], on_bad_line: OnBadLine, header: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Line numbers, from 1, and fields of a tab-separated file without quoting, plain or gzip."""

    def split(number: int, line: bytes) -> tuple[int, list[str]]:
        fields = decoded(line).split("\t")
        if len(fields) != len(columns):
            raise _wrong_number(fields, columns)
        return number, fields

    number = 0
    for lines in _read_batches(path):
        if len(lines) > EXAMPLES and not any(lines):
            empty = _wrong_number([""], columns)  # many empty lines are one error
            empty.lines = len(lines) - EXAMPLES
            on_bad_line(empty.at(path, number + 1))
            number += empty.lines
            lines = lines[:EXAMPLES]
        for row in parsed(path, enumerate(lines, number + 1), split, on_bad_line):
            if not header or row != (1, [*columns]):
                yield row
        number += len(lines)
    if number == 0:
        raise ConversionError(f"{path}: expected rows of {', '.join(columns)}, got an empty file.")


def read_raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, from 1, plain or gzip; ``ConversionError`` if unreadable or empty."""
    number = 0
    for lines in _read_batches(path):
        for line in lines:
            number += 1
            yield number, line
    if number == 0:
        raise ConversionError(f"{path}: expected lines, got an empty file.")


def decoded(line: bytes) -> str:
    """The text of a line; ``LineError`` if it is not UTF-8 or has a NUL byte."""
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


def _wrong_number(fields: Sequence[str], columns: Sequence[str]) -> LineError:
    text = "\t".join(fields)
    return LineError(
        "wrong number of columns",
        f"expected {len(columns)} tab-separated columns ({', '.join(columns)}), got "
        f"{len(fields)} in {quoted(text)}.",
    )


def _read_batches(path: Path) -> Iterator[list[bytes]]:
    with readable(path):
        yield from read_line_batches(path, progress=True)
