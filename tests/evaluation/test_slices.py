from __future__ import annotations

from datetime import datetime, timezone

import numpy as np

from recbole_tinynews.evaluation.slices import HISTORY, HOUR, hours_of, slices_of


def test_each_impression_is_in_one_slice_of_each_kind_and_in_the_right_one() -> None:
    """At a bound, an impression in two slices, or in none, would count twice or be lost."""
    rng = np.random.default_rng(0)
    lengths = np.append([0, 1, 5, 6, 20, 21, 50, 51, 558], rng.integers(0, 90, 300))
    hours = np.append([0, 23], rng.integers(0, 24, len(lengths) - 2))
    slices = slices_of(lengths, hours)
    for of_kind in slices.values():
        assert (np.sum(list(of_kind.values()), axis=0) == 1).all()

    def name(length: int) -> str:
        if length == 0:
            return "0"
        return "1-5" if length < 6 else "6-20" if length < 21 else "21-50" if length < 51 else "51+"

    for row, (length, hour) in enumerate(zip(lengths.tolist(), hours.tolist(), strict=True)):
        assert slices[HISTORY][name(length)][row]
        assert slices[HOUR][f"{hour:02}"][row]


def test_a_slice_of_nothing_is_left_out() -> None:
    """Its metrics would be the mean of nothing, with a warning for each."""
    slices = slices_of(np.array([3, 60]), np.array([9, 9]))
    assert {kind: list(of_kind) for kind, of_kind in slices.items()} == {
        HISTORY: ["1-5", "51+"],
        HOUR: ["09"],
    }


def test_hours_are_those_of_the_calendar() -> None:
    times = [
        datetime(2019, 11, 15, hour, minute, tzinfo=timezone.utc)
        for hour, minute in ((0, 0), (9, 59), (23, 30))
    ]
    seconds = np.array([int(each.timestamp()) for each in times])
    assert hours_of(seconds).tolist() == [0, 9, 23]
