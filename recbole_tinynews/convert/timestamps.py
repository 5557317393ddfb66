"""Parse MIND's times into UTC seconds, strictly, and a million of them a second."""

from __future__ import annotations

import re
from datetime import date, datetime, timezone
from functools import cache

SECONDS_A_DAY = 86_400

_DATE = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2}):([0-9]{2}) (AM|PM)")


def utc_seconds(text: str) -> int:
    """Seconds since 1970 of a time such as ``11/15/2019 8:55:22 AM``, month first, read as UTC.

    Twelve comes first in each half of the day:

    >>> utc_seconds("1/2/1970 12:05:00 AM"), utc_seconds("1/2/1970 12:05:00 PM")
    (86700, 129900)

    Raises:
        ValueError: it is no such time; 13:00 PM, 0:05 AM and 30 February are none.
    """
    day, _, clock = text.partition(" ")
    return _midnight(day) + _second_of_day(clock)


def iso(seconds: int) -> str:
    """UTC seconds as people read them."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


# A file holds few days and at most 86,400 clocks, so nearly every call is answered by the caches;
# `datetime.strptime` would take longer than all the rest of a line. Errors are not cached.


@cache
def _midnight(text: str) -> int:
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a date month/day/year, got {text[:40]!r}")
    month, day, year = map(int, match.groups())
    try:
        days = date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError as error:
        raise ValueError(f"expected a date of the calendar, got {text!r} ({error})") from None
    return days * SECONDS_A_DAY


@cache
def _second_of_day(text: str) -> int:
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a clock hour:minute:second AM or PM, got {text[:40]!r}")
    hour, minute, second = int(match[1]), int(match[2]), int(match[3])
    if not (1 <= hour <= 12 and minute < 60 and second < 60):
        raise ValueError(f"expected a clock from 1:00:00 to 12:59:59, AM or PM, got {text!r}")
    afternoon = 12 if match[4] == "PM" else 0
    return (hour % 12 + afternoon) * 3600 + minute * 60 + second
