"""Times as tables of one's own have them, as UTC seconds."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

from recbole_tinynews.convert.errors import Column, LineError, quoted
from recbole_tinynews.convert.timestamps import utc_seconds

# fromisoformat takes more, and other things with each version of Python. Fractions are dropped.
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
EARLIEST, MILLISECONDS = -62_135_596_800, 100_000_000_000  # as seconds, the years 1 and 5138


def seconds_of(cell: Any, column: Column) -> int:
    """UTC seconds of a number, or of a text: a number, ISO 8601, or as MIND writes it.

    A time without zone is UTC.

    >>> seconds_of("1970-01-02T00:00:00+01:00", "time"), seconds_of("1/2/1970 12:05:00 AM", "time")
    (82800, 86700)

    Raises:
        LineError: it is no time.
    """
    number = cell if isinstance(cell, int | float) else _parse(str(cell))
    unreadable = isinstance(number, float) and not math.isfinite(number)
    if number is None or unreadable or isinstance(cell, bool):
        expected = "seconds since 1970 or a time such as 2024-03-01T08:00:00"
        raise LineError("unknown time", f"expected {expected}, got {quoted(str(cell))}.", column)
    if not EARLIEST <= number < MILLISECONDS:
        raise LineError(
            "unknown time",
            f"expected seconds since 1970, got {quoted(str(cell))}. Divide milliseconds by 1000.",
            column,
        )
    return math.floor(number)


def published_of(cell: Any, column: Column) -> str:
    """The time of publication as text of UTC seconds; '' where the cell is empty.

    Raises:
        LineError: it is no time.
    """
    return "" if cell in (None, "") else str(seconds_of(cell, column))


def _parse(text: str) -> float | None:
    for parse in (_number, utc_seconds, _iso):
        try:
            return parse(text)
        except (ValueError, OverflowError):
            continue
    return None


def _number(text: str) -> float:
    if not text.isascii() or "_" in text or text.strip() != text:  # float() takes them
        raise ValueError(text)
    return float(text)


def _iso(text: str) -> float:
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day, clock, zone = match.groups()
    zone = zone if zone not in (None, "Z") else "+00:00"
    return datetime.fromisoformat(f"{day}T{clock or '00:00'}{zone}").timestamp()
