"""Read text lines, plain or gzip; errors name file and line."""

from __future__ import annotations

import gzip
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from recbole_tinynews.files.progress import progress_bar

GZIP_MAGIC = b"\x1f\x8b"
BLOCK = 1 << 20  # bytes per read
LONGEST_LINE = 1 << 26  # bytes; bounds memory for files without line ends


def read_lines(path: Path, progress: bool = False) -> Iterator[str]:
    """Lines of a UTF-8 file, split as in ``read_line_batches``; ``ValueError`` if it is damaged."""
    number = 0
    for lines in read_line_batches(path, progress):
        for line in lines:
            number += 1
            try:
                yield line.decode()
            except UnicodeDecodeError as problem:
                why = f"{path}, line {number}, expects UTF-8, got {problem}."
                raise ValueError(why) from problem


def read_line_batches(path: Path, progress: bool = False) -> Iterator[list[bytes]]:
    r"""Batches of lines, without line ends and byte-order mark; gzip is recognised by content.

    Lines end only at ``\n`` or ``\r\n``: Python also splits titles at U+2028, U+0085 or ``\r``.
    Raises ``ValueError`` for a line over ``LONGEST_LINE`` or a damaged gzip stream.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} cannot be read: there is no such file.")
    number, rest = 0, b""
    name, size = "/".join(path.parts[-2:]), path.stat().st_size
    with (
        path.open("rb") as file,
        progress_bar(
            desc=name, shown=progress, total=size, unit="B", unit_scale=True, leave=False
        ) as bar,
    ):
        source = _unzipped(file)
        try:
            while block := source.read(BLOCK):
                text = rest + block
                *lines, rest = text.split(b"\n")
                if len(rest) > LONGEST_LINE:
                    raise ValueError(
                        f"{path}, line {number + len(lines) + 1}, expects at most "
                        f"{LONGEST_LINE:,} bytes, got more. Is it a text file?"
                    )
                if lines:
                    # a file of nothing but line ends has a million lines per block
                    yield _texts(lines, number == 0) if b"\r" in text or not number else lines
                    number += len(lines)
                bar.update(file.tell() - bar.n)
        except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
            raise ValueError(
                f"{path} expects a complete gzip file, but after line {number} cannot be read: "
                f"{problem}. Copy it again."
            ) from problem
    if rest:
        yield _texts([rest], first=number == 0)


def _texts(lines: list[bytes], first: bool) -> list[bytes]:
    if first:
        lines[0] = lines[0].removeprefix(BOM_UTF8)
    return [line.removesuffix(b"\r") for line in lines]


def _unzipped(file: BinaryIO) -> BinaryIO:
    magic = file.read(len(GZIP_MAGIC))
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if magic == GZIP_MAGIC else file
