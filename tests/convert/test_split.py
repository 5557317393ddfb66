from __future__ import annotations

import numpy as np
import pytest

from recbole_tinynews.convert.errors import ConversionError
from recbole_tinynews.convert.splits import last_day, latest_fraction

DAY = 86_400


def test_the_last_day_is_a_calendar_day_and_not_the_last_24_hours() -> None:
    times = np.array([3 * DAY + 5, 2 * DAY - 1, 3 * DAY, 3 * DAY - 1])
    assert last_day(times).tolist() == [True, False, True, False]


def test_days_before_1970_are_days_too() -> None:
    assert last_day(np.array([-1, -DAY, -DAY - 1])).tolist() == [True, True, False]


def test_equal_times_are_cut_by_their_place_in_the_file() -> None:
    """An unstable sort would split the impressions differently on another machine."""
    times = np.random.default_rng(0).integers(3, size=1000)
    latest = sorted(range(1000), key=lambda place: (times[place], place))[-100:]
    assert np.flatnonzero(latest_fraction(times, 0.1)).tolist() == sorted(latest)


def test_a_fraction_takes_the_latest_and_not_the_last_in_the_file() -> None:
    assert latest_fraction(np.array([9, 1, 8, 2]), 0.5).tolist() == [True, False, True, False]


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_neither_side_of_a_cut_is_empty(fraction: float) -> None:
    with pytest.raises(ConversionError, match="on both sides"):
        latest_fraction(np.arange(10), fraction)
