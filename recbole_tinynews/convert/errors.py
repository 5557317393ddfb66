"""Errors of input, and the two ways to handle a bad line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

EXAMPLES = 5  # how many of a kind the report lists

Column = int | str  # its number from 1, or its name where the file has names


class ConversionError(ValueError):
    """The input can't be converted, and nothing was written."""


class LineError(ConversionError):
    """One bad line; others can still be used.

    Parsers of cells know the column; the loop over rows adds path and line (of parquet: row) with
    :meth:`at`.
    """

    def __init__(self, kind: str, message: str, column: Column | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.column = column
        self.path: Path | None = None
        self.line: int | None = None
        self.lines = 1  # of a run of equal ones

    def at(self, path: Path, line: int) -> LineError:
        """Add path and line to this error, and return it."""
        self.path, self.line = path, line
        return self

    def __str__(self) -> str:
        place = "" if self.path is None else f"{self.path}:{self.line}: "
        column = "" if self.column is None else f"column {self.column}: "
        return f"{place}{column}{self.message}"


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn errors of reading a file into a ``ConversionError`` that names it."""
    try:
        yield
    except ConversionError:
        raise
    except ValueError as error:  # of ``files``, which name the file
        raise ConversionError(str(error)) from error
    except OSError as error:
        raise ConversionError(f"{path}: expected a readable file, got: {error}.") from error


OnBadLine = Callable[[LineError], None]


def stop(error: LineError) -> None:
    """Handle a bad line by ending the conversion."""
    raise error


class SkippedLines:
    """Handles bad lines by dropping them; counts them by kind, and keeps the first few."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def __call__(self, error: LineError) -> None:
        """Drop the line of this error."""
        self.counts[error.kind] += error.lines
        examples = self.examples.setdefault(error.kind, [])
        if len(examples) < EXAMPLES:
            examples.append(str(error))

    def summary(self) -> dict[str, Any]:
        """The section of the report about skipped lines."""
        kinds = {
            kind: {"count": count, "examples": self.examples[kind]}
            for kind, count in sorted(self.counts.items())
        }
        return {"total": self.counts.total(), "kinds": kinds}


def quoted(text: str, limit: int = 60) -> str:
    """A value in an error message: escaped, and cut to ``limit`` characters.

    >>> quoted("a" * 100, limit=3)
    "'aaa'..."
    """
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}..."
