"""Read text files of others, lines or JSON; errors name the file."""

from __future__ import annotations

import gzip
import json
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from recbole_tinynews.files.progress import progress_bar

GZIP_MAGIC = b"\x1f\x8b"
BLOCK = 1 << 20  # bytes per read
LONGEST_LINE = 1 << 26  # bytes; bounds memory for files without line ends
LARGEST = 1 << 24  # bytes of a JSON file


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
    number = 0
    name, size = "/".join(path.parts[-2:]), path.stat().st_size
    with (
        path.open("rb") as file,
        progress_bar(
            desc=name, shown=progress, total=size, unit="B", unit_scale=True, leave=False
        ) as bar,
    ):
        source = _unzipped(file)
        try:
            while lines := _some_lines(source):
                if len(lines[-1]) > LONGEST_LINE:
                    raise ValueError(
                        f"{path}, line {number + len(lines)}, expects at most {LONGEST_LINE:,} "
                        "bytes, got more. Is it a text file?"
                    )
                if not number:
                    lines[0] = lines[0].removeprefix(BOM_UTF8)
                yield [line.removesuffix(b"\n").removesuffix(b"\r") for line in lines]
                number += len(lines)
                bar.update(file.tell() - bar.n)
        except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
            raise ValueError(
                f"{path} expects a complete gzip file, but after line {number} cannot be read: "
                f"{problem}. Copy it again."
            ) from problem


def _some_lines(source: BinaryIO) -> list[bytes]:
    """Lines of at least ``BLOCK`` bytes together, unless the file ends or one is too long."""
    lines, size = [], 0
    while size < BLOCK and (line := source.readline(LONGEST_LINE + 1)):
        lines.append(line)
        size += len(line)
        if len(line) > LONGEST_LINE:
            break
    return lines


def _unzipped(file: BinaryIO) -> BinaryIO:
    magic = file.read(len(GZIP_MAGIC))
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if magic == GZIP_MAGIC else file


@contextmanager
def untrusted(file: Path) -> Iterator[None]:
    """Turn errors, except a missing file or module, into a ``ValueError`` that names ``file``."""
    try:
        yield
    except (FileNotFoundError, ModuleNotFoundError):
        raise
    except Exception as problem:
        if isinstance(problem, ValueError) and str(file.parent) in str(problem):
            raise  # already names a file
        why = " ".join(str(problem).split())[:300].rstrip(".")
        raise ValueError(
            f"{file} cannot be used: {type(problem).__name__}: {why}. Write it again, or "
            "copy it again."
        ) from problem


def read_json(file: Path) -> Any:
    """Parse a JSON file; ``ValueError`` if over ``LARGEST``, nested too deeply, or invalid."""
    if (size := file.stat().st_size) > LARGEST:
        raise ValueError(f"{file} expects at most {LARGEST:,} bytes, got {size:,}.")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{file} is not valid JSON: {str(problem)[:300]}") from problem
