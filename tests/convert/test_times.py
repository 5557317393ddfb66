from __future__ import annotations

import pytest

from recbole_tinynews.convert.errors import LineError
from recbole_tinynews.convert.timestamps import seconds_of


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        (1_709_283_600, 1_709_283_600),
        (1_709_283_600.9, 1_709_283_600),
        (-0.5, -1),
        ("1709283600", 1_709_283_600),
        ("1709283600.9", 1_709_283_600),
        ("2024-03-01T09:00:00", 1_709_283_600),
        ("2024-03-01 09:00", 1_709_283_600),
        ("2024-03-01T09:00:00Z", 1_709_283_600),
        ("2024-03-01T09:00:00.999999999", 1_709_283_600),
        ("2024-03-01T10:00:00.5+01:00", 1_709_283_600),
        ("2024-03-01", 1_709_251_200),
        ("3/1/2024 9:00:00 AM", 1_709_283_600),
        ("0001-01-01", -62_135_596_800),
    ],
)
def test_a_time_is_read_alike_on_every_python(cell: object, seconds: int) -> None:
    """Python 3.10 and 3.11 take different texts for ISO 8601."""
    assert seconds_of(cell, "time") == seconds


@pytest.mark.parametrize(
    "cell",
    [
        *("", " ", "today", "nan", "inf", "-inf", "1_000", "1 ", "٣", True, None, []),
        *("2024-02-30", "2024-3-1", "20240301T09", "2024-W10", "2024-03-01é09:00", "24-03-01"),
        *("2024-03-01T25:00:00", "2024-03-01T09:00:00+25:00", "0000-01-01", 10**400, "1e400"),
        *(1_709_283_600_000, "1709283600000", -62_135_596_801, "99999999999999999999"),
        *("0001-01-01T00:00:00+01:00",),
    ],
    ids=lambda cell: repr(cell)[:30],
)
def test_what_is_no_time_or_a_doubtful_one_is_a_bad_row(cell: object) -> None:
    with pytest.raises(LineError, match="column time: expected seconds since 1970"):
        seconds_of(cell, "time")
