"""Input errors, and the two policies for bad lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

EXAMPLES = 5  # listed per kind in the report

Column = int | str  # number from 1, or name if the file has a header


class ConversionError(ValueError):
    """The input can't be converted; nothing was written."""


class LineError(ConversionError):
    """A bad line. Parsers set the column; the loop over rows adds path and line with :meth:`at`.

    The message is "expected ``expected``, got ``got``." and ``advice``, if any.
    """

    def __init__(
        self, kind: str, expected: str, got: str, column: Column | None = None, advice: str = ""
    ) -> None:
        self.message = f"expected {expected}, got {got}.{advice and ' '}{advice}"
        super().__init__(self.message)
        self.kind, self.column = kind, column
        self.path: Path | None = None
        self.line: int | None = None
        self.lines = 1  # more for a run of equal lines

    def at(self, path: Path, line: int) -> LineError:
        """Set path and line (in parquet: row), and return this error."""
        self.path, self.line = path, line
        return self

    def __str__(self) -> str:
        place = "" if self.path is None else f"{self.path}:{self.line}: "
        column = "" if self.column is None else f"column {self.column}: "
        return f"{place}{column}{self.message}"


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn read errors into a ``ConversionError`` that names the file."""
    try:
        yield
    except ConversionError:
        raise
    except ValueError as error:  # from ``files``, names the file already
        raise ConversionError(str(error)) from error
    except OSError as error:
        raise ConversionError(f"{path}: expected a readable file, got: {error}.") from error


OnBadLine = Callable[[LineError], None]


def stop(error: LineError) -> None:
    """Bad-line policy: abort the conversion."""
    raise error


class SkippedLines:
    """Bad-line policy: drop the line, count it by kind, keep the first few as examples."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def __call__(self, error: LineError) -> None:
        """Drop the line."""
        self.counts[error.kind] += error.lines
        examples = self.examples.setdefault(error.kind, [])
        if len(examples) < EXAMPLES:
            examples.append(str(error))

    def summary(self) -> dict[str, Any]:
        """Report section on skipped lines."""
        kinds = {
            kind: {"count": count, "examples": self.examples[kind]}
            for kind, count in sorted(self.counts.items())
        }
        return {"total": self.counts.total(), "kinds": kinds}


def quoted(text: str, limit: int = 60) -> str:
    """Escape a value for an error message, truncated to ``limit`` characters.

    >>> quoted("a" * 100, limit=3)
    "'aaa'..."
    """
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}..."
