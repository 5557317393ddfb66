from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_tinynews.convert.errors import LineError
from recbole_tinynews.convert.readers.cells import iso, seconds_of, utc_seconds

moments = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(5138, 11, 16))


@given(moments, st.integers(-14 * 60, 14 * 60), st.booleans())
def test_every_time_agrees_with_the_standard_library(
    moment: datetime, minutes: int, spaced: bool
) -> None:
    """12:05 AM read as noon moves an impression by half a day, and the last day with it."""
    seconds = int(moment.replace(tzinfo=timezone.utc, microsecond=0).timestamp())
    half = f"{(moment.hour % 12) or 12}:{moment:%M:%S} {'PM' if moment.hour >= 12 else 'AM'}"
    text = f"{moment.month}/{moment.day}/{moment.year:04} {half}"
    assert utc_seconds(text) == seconds_of(text, "time") == seconds
    if not 19_000_101 <= seconds <= 20_991_231:  # days such as 20240301 are refused
        assert seconds_of(seconds, "time") == seconds_of(str(seconds), "time") == seconds
        assert seconds_of(seconds_of(iso(seconds), "t"), "t") == seconds  # iso() is read back
    text = moment.isoformat(" " if spaced else "T")
    assert seconds_of(text, "time") == seconds_of(f"{text}Z", "time") == seconds
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    if seconds - 60 * minutes >= -62_135_596_800 and moment.year > 1:
        zoned = f"{text}{sign}{hours:02}:{rest:02}"
        assert seconds_of(zoned, "t") == seconds - timedelta(minutes=minutes).total_seconds()


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        (1_709_283_600.9, 1_709_283_600),
        (-0.5, -1),
        ("1709283600.9", 1_709_283_600),
        ("2024-03-01 09:00", 1_709_283_600),
        ("2024-03-01T09:00:00.999999999", 1_709_283_600),
        ("2024-03-01", 1_709_251_200),
        ("0001-01-01", -62_135_596_800),
    ],
)
def test_a_time_is_read_alike_on_every_python(cell: object, seconds: int) -> None:
    """Python 3.10 and 3.11 take different texts for ISO 8601."""
    assert seconds_of(cell, "time") == seconds


DOUBTFUL = [
    *("", " ", "11/15/2019", "11/15/2019 13:00:00 PM", "11/15/2019 0:05:00 AM"),
    *("11/15/2019 8:60:00 AM", "11/15/2019 8:05:60 AM", "11/15/2019 8:05 AM"),
    *("11/15/2019 8:05:00", "11/15/2019 8:05:00 am", "11/15/2019  8:05:00 AM"),
    *(" 11/15/2019 8:05:00 AM", "11/15/2019 8:05:00 AM ", "13/15/2019 8:05:00 AM"),
    *("2/30/2020 8:05:00 AM", "2/29/2019 8:05:00 AM", "0/15/2019 8:05:00 AM"),
    *("11/15/19 8:05:00 AM", "11/15/0000 8:05:00 AM", "11/15/99999 1:00:00 AM"),
    *("-1/15/2019 1:00:00 AM", "\u0661\u0661/15/2019 8:05:00 AM"),  # digits to int()
]


@pytest.mark.parametrize("text", [*DOUBTFUL, "2019-11-15 08:05:00", "1573804522"])
def test_a_time_of_mind_that_can_only_be_guessed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        utc_seconds(text)


@pytest.mark.parametrize(
    "cell",
    [
        *DOUBTFUL,
        *("today", "nan", "inf", "-inf", "1_000", "1 ", "٣", True, None, []),
        *("20240301", 20240301, 20240301.0, "20240301.0", "20240301T09", "2024-W10"),
        *("2024-02-30", "2024-3-1", "2024-03-01é09:00", "24-03-01"),
        *("2024-03-01T25:00:00", "2024-03-01T09:00:00+25:00", "0000-01-01", 10**400, "1e400"),
        *(1_709_283_600_000, "1709283600000", -62_135_596_801, "99999999999999999999"),
        *("0001-01-01T00:00:00+01:00",),
    ],
    ids=lambda cell: repr(cell)[:30],
)
def test_what_is_no_time_or_a_doubtful_one_is_a_bad_row(cell: object) -> None:
    with pytest.raises(LineError, match="column time: expected seconds since 1970"):
        seconds_of(cell, "time")
