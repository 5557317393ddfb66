"""Clocks that are wrong, of a service or of its events: nothing is lost, and all goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import status_of

from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.serving.bad_events import main
from recbole_tinynews.serving.events import EXPOSURE, Event
from recbole_tinynews.serving.live_counters import LiveCounters, Moment
from recbole_tinynews.serving.store import Store

HOUR, DAY, YEAR = 3600, 24 * 3600, 365 * 24 * 3600
NOW = 1_700_000_000
COUNTING = Counting((24, None))


def event(name: str, time: int, user: str = "U1") -> Event:
    return Event(name, EXPOSURE, "A1", user, time)


def opened(place: str) -> LiveCounters:
    return LiveCounters(Store(place), [COUNTING])


def exposures(counters: LiveCounters, at: int, counting: Counting = COUNTING) -> list[float]:
    """Of the last hours, and of all time; ``ValueError`` if they are not known."""
    found = counters.features(counting, [counters.known_numbers(["A1"])], [Moment(at)])
    windows = len(counting.windows)
    return found[0, 1 + windows : 1 + 2 * windows].tolist()


def filled(place: str) -> LiveCounters:
    """With an event of each of the 30 hours up to now."""
    counters = opened(place)
    for time in range(NOW - 30 * HOUR, NOW + 1, HOUR):
        assert counters.add([event(f"at {time}", time, f"U{time}")], now=time).counted == 1
    return counters


def test_an_event_of_a_clock_that_is_a_year_ahead_stops_nothing(place: str) -> None:
    """It made all others too old: every ranking and event was refused, after a restart too."""
    one, other, ahead = filled(place), opened(place), NOW + YEAR
    before = exposures(one, NOW + 1)
    assert before == [24, 31]
    assert one.add([event("ahead", ahead)], now=ahead) == (0, 0, 1, [])
    assert one.add([event("ahead", ahead)], now=ahead) == (0, 1, 0, [])
    assert one.add([event("ahead too", ahead + 60)], now=ahead + 60).held == 1  # the same reader's
    for place_in_time, each in enumerate((one, other, opened(place))):
        each.catch_up()
        assert (exposures(each, NOW + 1), each.newest) == (before, NOW)
        late = event(f"late {place_in_time}", NOW - 20 * HOUR)
        assert each.add([late], now=NOW + 1).counted == 1
        before = [before[0] + 1, before[1] + 1]
        assert exposures(each, NOW + 1) == before
    assert [each.id for each in Store(place).held()] == ["ahead", "ahead too"]


def test_a_clock_that_is_hours_back_loses_nothing(place: str) -> None:
    """What its events made known must be known again when it is right."""
    counters, back = filled(place), NOW - 2 * HOUR
    added = counters.add([event("back", back - 5), event("right", NOW)], now=back)
    assert (added.counted, [each.id for each in added.refused]) == (1, ["right"])
    with pytest.raises(ValueError, match="summed up"):
        exposures(counters, back)  # a caller who asks for this moment is told
    for each in (counters, opened(place)):
        assert exposures(each, NOW + 1) == [24 + 1, 31 + 1]
    assert counters.add([event("right", NOW)], now=NOW).counted == 1


@pytest.mark.parametrize(
    ("readers", "gap", "comes_to_life"),
    [
        (("U1", "U2"), 10, True),
        (("U2", "U1"), HOUR, True),
        (("U1", "U1"), 10, False),
        (("U1", "U2"), HOUR + 1, False),
        (("", ""), 10, True),  # a site may not say who reads
        (("U1", ""), 10, True),
    ],
)
def test_a_site_that_was_quiet_for_days_comes_to_life_with_its_second_reader(
    place: str, readers: tuple[str, str], gap: int, comes_to_life: bool
) -> None:
    """It would hold its events for ever, or one wrong clock would be believed."""
    one, other = filled(place), opened(place)
    first, second = NOW + 3 * DAY, NOW + 3 * DAY + gap
    assert one.add([event("first", first, readers[0])], now=first).held == 1
    added = other.add([event("second", second, readers[1])], now=second)
    assert (added.counted, added.held) == (comes_to_life, not comes_to_life)
    one.catch_up()
    counted = [2.0, 33.0] if comes_to_life else [0.0, 31.0]
    assert exposures(one, second + 1) == exposures(other, second + 1) == counted
    assert len(Store(place).held()) == 2 * (not comes_to_life)


def test_a_batch_counts_what_two_readers_agree_on_and_holds_the_rest(place: str) -> None:
    """In one transaction: the numbers of the answer are those of its own events."""
    counters, later = filled(place), NOW + 5 * DAY
    assert counters.add([event("held before", NOW + 2 * DAY)], now=later).held == 1
    batch = [event("a", later - YEAR // 2, "U3"), event("b", later + 9, "U2"), event("c", later)]
    ahead = event("ahead", later + YEAR)
    added = counters.add([*batch, ahead, ahead], now=later + YEAR)
    assert (added.counted, added.repeated, added.held) == (2, 1, 1)
    assert [each.id for each in added.refused] == ["a"]
    assert exposures(counters, later + 10) == [2, 31 + 3]
    assert [each.id for each in Store(place).held()] == ["ahead"]


def test_a_held_event_counts_as_soon_as_counted_ones_are_within_a_day(place: str) -> None:
    """It would be missing though nothing is wrong with it any more."""
    counters = filled(place)
    for name, days in (("third", 2.7), ("second", 1.8)):
        time = int(NOW + days * DAY)
        assert counters.add([event(name, time)], now=time).held == 1
    first = NOW + DAY - HOUR
    assert counters.add([event("first", first)], now=first).counted == 1
    assert exposures(counters, NOW + 3 * DAY) == [1, 31 + 3]
    assert Store(place).held() == []


def test_a_held_event_that_is_sent_again_with_the_right_time_counts(place: str) -> None:
    """Its id was taken: it would be missing until its wrong time has come."""
    counters = filled(place)
    assert counters.add([event("ahead", NOW + YEAR)], now=NOW + YEAR).held == 1
    assert counters.add([event("ahead", NOW)], now=NOW + 1) == (1, 0, 0, [])
    assert exposures(counters, NOW + 1) == [24 + 1, 31 + 1]
    assert Store(place).held() == []


def test_all_readers_of_an_hour_of_a_wrong_clock_forget_nothing(place: str) -> None:
    """They agree, so they count; but what they make seem old is still needed."""
    one, other, ahead = filled(place), opened(place), NOW + YEAR
    for minute in range(0, 60, 5):
        some = [event(f"{minute} {user}", ahead + 60 * minute, user) for user in ("U1", "U2")]
        assert one.add(some, now=ahead + 60 * minute).refused == []
    for each in (one, other, opened(place)):
        each.catch_up()
        assert exposures(each, NOW + 1) == [24, 31]
        assert each.newest > ahead
    assert status_of(main, ["--drop-after", str(NOW), place]) == 0
    other.catch_up()
    assert (exposures(other, NOW + 1), other.newest) == ([24, 31], NOW)


def test_a_new_store_survives_a_first_event_of_a_wrong_clock(place: str) -> None:
    """There is no event to compare it with."""
    counters, first = opened(place), NOW + YEAR
    for hour in range(5):
        assert counters.add([event(f"{hour}", first + hour * HOUR)], now=first + hour * HOUR)[0]
    counters = opened(place)
    for hour in range(40):
        time = NOW + hour * HOUR
        assert counters.add([event(f"right {hour}", time)], now=time).counted == 1
    for each in (counters, opened(place)):
        assert exposures(each, NOW + 40 * HOUR) == [24, 40]


def test_events_taken_out_are_gone_for_every_process_and_others_count_again(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store whose clock was a year ahead for hours had to be thrown away."""
    one, other, ahead = filled(place), opened(place), NOW + YEAR
    for hour in range(3):
        some = [event(f"{hour} {user}", ahead + hour * HOUR, user) for user in ("U1", "U2")]
        one.add(some, now=ahead + hour * HOUR)
    assert one.add([event("held", ahead + 9 * DAY)], now=ahead + 9 * DAY).held == 1
    other.catch_up()
    with pytest.raises(ValueError, match="summed up"):
        exposures(other, NOW + 1)
    assert status_of(main, [place, "--drop-after=2023-11-14T22:13:20"]) == 0  # now
    assert capsys.readouterr().out == "7 events taken out\n"
    other.catch_up()
    assert other.add([event("right", NOW + 9)], now=NOW + 9) == (1, 0, 0, [])
    for each in (one, other, opened(place)):
        each.catch_up()
        assert exposures(each, NOW + DAY + 1) == [1, 31 + 1]
        assert each.newest == NOW + 9
    assert status_of(main, [place, "--drop-after=0"]) == 0
    one.catch_up()
    assert exposures(one, NOW + DAY) == [0, 0]


def test_a_process_that_lags_behind_misses_no_event_that_was_summed_up(place: str) -> None:
    """The mark of what is summed up must not fall: a later sum may be of older commits."""
    counting = Counting((2, None))
    one, lagging = (LiveCounters(Store(place), [counting]) for _ in range(2))
    one.add([event("a", NOW)], now=NOW)
    lagging.catch_up()
    one.add([event("late", NOW - 5400)], now=NOW)
    for hour in range(1, 5):  # sum up the late one, then the one before it
        one.add([event(f"{hour}", NOW + hour * HOUR)], now=NOW + hour * HOUR)
    with one._store.tallies(-1) as found:
        assert found.summed_up == NOW + HOUR
    lagging.catch_up()
    of_both = [exposures(each, NOW + 5 * HOUR, counting) for each in (one, lagging)]
    assert of_both == [[2, 6], [2, 6]]


def test_held_events_are_listed_as_they_were_sent(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever finds them right can send them again."""
    counters = filled(place)
    sent = [
        Event("tab\t", "click", "A1", "U1", NOW + YEAR),
        Event("b", EXPOSURE, "A\u20ac", "U1", NOW + YEAR),
    ]
    assert counters.add(sent[::-1], now=NOW + YEAR).held == 2
    assert status_of(main, [place, "--list-held"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(lines, key=str) == sorted((each._asdict() for each in sent), key=str)


def test_a_store_that_is_not_there_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt name would say that nothing is held."""
    assert status_of(main, [str(tmp_path / "store"), "--list-held"]) == 1
    assert "expects an existing file" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "time", ["now", "", "1700000000000", "-5", "2026-13-01", "20261301", "9" * 30]
)
def test_a_time_that_is_none_takes_nothing_out(
    tmp_path: Path, time: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Milliseconds would take nothing out, and a wrong date too much."""
    counters = filled(str(tmp_path / "store"))
    with pytest.raises(SystemExit):
        main([str(tmp_path / "store"), f"--drop-after={time}"])
    assert "UTC seconds or a date" in capsys.readouterr().err
    counters.catch_up()
    assert exposures(counters, NOW + 1) == [24, 31]
