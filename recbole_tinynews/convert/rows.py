"""Rows of a tab-separated file without header, without quoting, without surprises."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from tqdm import tqdm

from recbole_tinynews.convert.errors import ConversionError, LineError, quoted

_BATCH = 1 << 20  # bytes between two looks at the progress bar
_LONGEST_LINE = 1 << 26  # bytes: a file without line ends must not fill the memory
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP_MAGIC = b"\x1f\x8b"


class Row(NamedTuple):
    """The fields of one line, and its number from 1."""

    number: int
    fields: list[str]


def read_rows(
    path: Path, columns: Sequence[str], on_bad_line: Callable[[LineError], None]
) -> Iterator[Row]:
    r"""The rows of a plain or gzip file; ``columns`` are the names an error speaks of.

    Only ``\n`` ends a line, with or without ``\r`` before it: Python's own idea of a line would
    also cut a title at U+2028, U+0085 or a lone ``\r``. A byte-order mark is not text.
    """
    number = 0
    for lines in _read_batches(path):
        for line in lines:
            number += 1
            try:
                fields = _split(line, columns, first=number == 1)
            except LineError as error:
                on_bad_line(error.at(path, number))
            else:
                yield Row(number, fields)
    if number == 0:
        raise ConversionError(f"{path}: expected rows of {_listed(columns)}, got an empty file.")


def _split(line: bytes, columns: Sequence[str], first: bool) -> list[str]:
    line = line.removesuffix(b"\r")
    if first:
        line = line.removeprefix(_BYTE_ORDER_MARK)
    if b"\0" in line:
        raise LineError("NUL byte", f"expected text, got a NUL byte at byte {line.index(0) + 1}.")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LineError(
            "invalid UTF-8",
            f"expected UTF-8, got {line[error.start : error.start + 4]!r} at byte "
            f"{error.start + 1} of the line ({error.reason}).",
        ) from None
    fields = text.split("\t")
    if len(fields) != len(columns):
        raise LineError(
            "wrong number of columns",
            f"expected {len(columns)} tab-separated columns ({_listed(columns)}), got "
            f"{len(fields)} in {quoted(text)}.",
        )
    return fields


def _read_batches(path: Path) -> Iterator[list[bytes]]:
    r"""Lines without their ``\n``, a batch of them at a time."""
    number, rest = 0, b""
    try:
        with path.open("rb") as file, _progress(path) as progress:
            source = _unzipped(file)
            while block := source.read(_BATCH):
                *lines, rest = (rest + block).split(b"\n")
                number += len(lines)
                if len(rest) > _LONGEST_LINE:
                    raise ConversionError(
                        f"{path}:{number + 1}: expected a line of at most {_LONGEST_LINE:,} bytes, "
                        "got a longer one. Is it a text file?"
                    )
                yield lines
                progress.update(file.tell() - progress.n)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConversionError(
            f"{path}: expected a whole gzip file, got a damaged one ({error}). Copy it anew."
        ) from error
    except OSError as error:
        raise ConversionError(f"{path}: expected a readable file, got: {error}.") from error
    if rest:
        yield [rest]


def _unzipped(file: BinaryIO) -> BinaryIO:
    """By content, not by name: a file that lost its ``.gz`` is still read."""
    magic = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if magic == _GZIP_MAGIC else file


def _progress(path: Path) -> tqdm:
    return tqdm(
        total=path.stat().st_size,
        desc="/".join(path.parts[-2:]),
        unit="B",
        unit_scale=True,
        leave=False,
        disable=None,  # off where nobody watches: stderr is no terminal
    )


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns)
