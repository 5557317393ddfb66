"""Times as tables of one's own have them, as UTC seconds."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

from recbole_tinynews.convert.errors import Column, LineError, quoted
from recbole_tinynews.convert.timestamps import utc_seconds

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
    if isinstance(cell, bool) or number is None or not math.isfinite(number):
        raise LineError(
            "unknown time",
            "expected seconds since 1970 or a time such as 2024-03-01T08:00:00, got "
            f"{quoted(str(cell))}.",
            column,
        )
    if not EARLIEST <= number < MILLISECONDS:
        raise LineError(
            "unknown time",
            f"expected seconds since 1970, got {quoted(str(cell))}. Divide milliseconds by 1000.",
            column,
        )
    return math.floor(number)


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
    time = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=timezone.utc)
    return (time - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()
