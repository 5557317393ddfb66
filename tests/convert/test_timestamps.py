from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_tinynews.convert.timestamps import iso, utc_seconds


def test_midnight_and_noon_are_not_swapped() -> None:
    """12:05 AM read as noon moves an impression by half a day, and the last day with it."""
    assert iso(utc_seconds("11/15/2019 12:05:00 AM")) == "2019-11-15T00:05:00Z"
    assert iso(utc_seconds("11/15/2019 12:05:00 PM")) == "2019-11-15T12:05:00Z"
    assert iso(utc_seconds("11/15/2019 1:05:00 PM")) == "2019-11-15T13:05:00Z"


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)))
def test_every_second_agrees_with_the_standard_library(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    hour = (moment.hour % 12) or 12
    text = f"{moment.month}/{moment.day}/{moment.year:04} {hour}:{moment:%M:%S} " + (
        "PM" if moment.hour >= 12 else "AM"
    )
    assert utc_seconds(text) == int(moment.replace(tzinfo=timezone.utc).timestamp())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "11/15/2019",
        "11/15/2019 13:00:00 PM",
        "11/15/2019 0:05:00 AM",
        "11/15/2019 8:60:00 AM",
        "11/15/2019 8:05:60 AM",
        "11/15/2019 8:05 AM",
        "11/15/2019 8:05:00",
        "11/15/2019 8:05:00 am",
        "11/15/2019  8:05:00 AM",
        " 11/15/2019 8:05:00 AM",
        "11/15/2019 8:05:00 AM ",
        "13/15/2019 8:05:00 AM",
        "2/30/2020 8:05:00 AM",
        "2/29/2019 8:05:00 AM",
        "0/15/2019 8:05:00 AM",
        "11/15/19 8:05:00 AM",
        "11/15/0000 8:05:00 AM",
        "2019-11-15 08:05:00",
        "1573804522",
        "\u0661\u0661/15/2019 8:05:00 AM",
    ],
)
def test_a_time_that_can_only_be_guessed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        utc_seconds(text)
