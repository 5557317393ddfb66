"""Read lines of text whose mistakes are named by file and line."""

from __future__ import annotations

import gzip
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"


def read_lines(path: Path) -> Iterator[str]:
    r"""Lines of a UTF-8 file, plain or gzip, without their ends and without a byte-order mark.

    A line ends at ``\n`` or ``\r\n`` alone: other line breaks of Unicode are text.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not UTF-8, or the gzip stream is damaged or cut off.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is to be read, and there is no such file.")
    with path.open("rb") as file:
        zipped = file.read(2) == GZIP_MAGIC
    number = 0
    with gzip.open(path) if zipped else path.open("rb") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if number == 1:
                    line = line.removeprefix(BOM_UTF8)
                yield line.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError as problem:
            raise ValueError(f"{path}, line {number}, expects UTF-8, got {problem}.") from problem
        except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
            raise ValueError(
                f"{path} expects a whole gzip file, and after line {number} cannot be read: "
                f"{problem}. Copy it anew."
            ) from problem
