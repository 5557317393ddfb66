"""Parse the times of MIND and other formats into UTC seconds."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from recbole_tinynews.convert.errors import Column, LineError, quoted

SECONDS_A_DAY = 86_400

_MIND = re.compile(
    r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}) (0?[1-9]|1[0-2]):([0-9]{2}):([0-9]{2}) (AM|PM)"
)
# Stricter than fromisoformat, which varies with the Python version. Fractions are dropped.
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
_TIME = "seconds since 1970 or a time such as 2024-03-01T08:00:00"
_COMPACT = re.compile("(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])")  # 20240301
EARLIEST, MILLISECONDS = -62_135_596_800, 100_000_000_000  # as seconds: the years 1 and 5138


def utc_seconds(text: str, column: Column | None = None) -> int:
    """UTC seconds of MIND's format, month first: ``11/15/2019 8:55:22 AM``; else ``LineError``.

    >>> utc_seconds("1/2/1970 12:05:00 AM"), utc_seconds("1/2/1970 12:05:00 PM")
    (86700, 129900)
    """
    match, why = _MIND.fullmatch(text), ""
    if match is not None:
        month, day, year, hour, minute, second = map(int, match.groups()[:6])
        hour = hour % 12 + (12 if match[7] == "PM" else 0)
        try:
            moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
            return int(moment.timestamp())
        except ValueError as error:
            why = f" ({error})"
    expected = "a time such as 11/15/2019 8:55:22 AM"
    raise LineError("unknown time", expected, f"{quoted(text)}{why}", column)


def iso(seconds: int) -> str:
    """UTC seconds as ISO 8601."""
    return f"{datetime.fromtimestamp(seconds, timezone.utc).isoformat()[:19]}Z"


def seconds_of(cell: Any, column: Column) -> int:
    """UTC seconds from a number, numeric text, ISO 8601 (UTC without zone) or MIND's format.

    >>> seconds_of("1970-01-02T00:00:00+01:00", "time"), seconds_of("1/2/1970 12:05:00 AM", "time")
    (82800, 86700)
    """
    number, got = cell if isinstance(cell, int | float) else _parse(str(cell)), quoted(str(cell))
    unreadable = isinstance(number, float) and not math.isfinite(number)
    if number is None or unreadable or isinstance(cell, bool):
        raise LineError("unknown time", _TIME, got, column)
    if not EARLIEST <= number < MILLISECONDS:
        advice = "Divide milliseconds by 1000."
        raise LineError("unknown time", "seconds since 1970", got, column, advice)
    seconds = math.floor(number)
    if seconds == number and _COMPACT.fullmatch(str(seconds)):
        got += ", a day of 1970 or, more likely, a date"
        raise LineError("unknown time", _TIME, got, column)
    return seconds


def published_of(cell: Any, column: Column) -> str:
    """Publication time as UTC seconds in text, '' for an empty cell; else ``LineError``."""
    return "" if cell in (None, "") else str(seconds_of(cell, column))


def _parse(text: str) -> float | None:
    for parse in (_number, utc_seconds, _iso):
        with suppress(ValueError, OverflowError):
            return parse(text)
    return None


def _number(text: str) -> float:
    if not text.isascii() or "_" in text or text.strip() != text:  # float() accepts these
        raise ValueError(text)
    return float(text)


def _iso(text: str) -> float:
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day, clock, zone = match.groups()
    zone = zone if zone not in (None, "Z") else "+00:00"
    return datetime.fromisoformat(f"{day}T{clock or '00:00'}{zone}").timestamp()
