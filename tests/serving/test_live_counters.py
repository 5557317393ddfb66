"""What is counted live is what is counted offline, whatever is summed up, repeated or refused."""

from __future__ import annotations

import sqlite3
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from random_logs import HOUR, Log, impressions_of, logs

from recbole_tinynews.data.impressions import Impressions, RecentClicks
from recbole_tinynews.data.popularity import Counting, popularity_features
from recbole_tinynews.serving import live_counters
from recbole_tinynews.serving.events import CLICK, EXPOSURE, Event
from recbole_tinynews.serving.live_counters import LiveCounters, Moment
from recbole_tinynews.serving.store import Store, StoreError

START = 1_700_000_000  # of the logs
NOW = START + 100 * HOUR
LATEST = len(Counting().names) - 1  # column of exposures in the longest window
MOST = 2  # fewer than a reader may have made

NAMES = np.array(["[PAD]", *(f"A{article}" for article in range(1, 10))])


def event(name: str, time: int = NOW, kind: str = EXPOSURE, user: str = "U1") -> dict[str, Any]:
    return {"id": name, "kind": kind, "article": "A1", "user": user, "time": time}


def events_of(log: Log) -> list[list[Event]]:
    """The exposures and clicks of each impression."""
    made = []
    for number, (time, user, row) in enumerate(log):
        at, own = START + time * HOUR, []
        for place, (article, label) in enumerate(row):
            name = f"{number}-{place}"
            own.append(Event(name, EXPOSURE, f"A{article}", f"U{user}", at))
            if label == 1:
                own.append(Event(f"{name}-click", CLICK, f"A{article}", f"U{user}", at))
        made.append(own)
    return made


def clicks_of(shown: Impressions, delay: int) -> list[list[str]]:
    """What each impression's reader clicked before, as training reads it."""
    clicked = np.flatnonzero(shown.labels == 1)
    clicks = shown.candidates.rows_of(clicked), shown.candidates.values[clicked]
    recent = RecentClicks.of(shown.user, shown.timestamp, clicks, delay * HOUR, NAMES)
    every = recent.newest(np.arange(shown.rows), MOST)
    return [[f"A{article}" for article in row if article] for row in every.tolist()]


# databases are made in each example, so that a smaller one would be looked for for minutes
@settings(deadline=None, phases={*Phase} - {Phase.shrink})
@given(
    log=logs,
    delay=st.integers(0, 2),
    windows=st.sampled_from([(2, 5, None), (1,), (None,), (0.5, 2)]),
    recent=st.integers(0, 6),
    restart=st.booleans(),
    published=st.booleans(),
    reader=st.booleans(),
    data=st.data(),
)
def test_replayed_counters_are_those_of_the_data_set(
    log: Log,
    delay: int,
    windows: Any,
    recent: int,
    restart: bool,
    published: bool,
    reader: bool,
    data: Any,
) -> None:
    """A model would be served with other numbers and clicks than it was trained with."""
    log.sort(key=lambda row: row[0])
    counting = Counting(windows, delay * HOUR, reader=reader)
    times = np.array([np.nan, START + HOUR, np.nan, np.nan, START]) if published else None
    shown = impressions_of(log)
    shown = shown._replace(timestamp=shown.timestamp + START)
    offline = popularity_features(shown, counting, shown.rows, times)
    moments_of_all = np.repeat(offline.moments, shown.candidates.lengths, axis=0)
    features = np.concatenate([offline.values, moments_of_all], axis=1)
    expected = np.split(features, shown.candidates.offsets[1:-1])
    clicks = clicks_of(shown, delay)
    store = Store()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_counters, "RECENT", recent)
        counters = LiveCounters(store, [counting])
        rows = range(len(log))
        for _, together in groupby(rows, key=lambda row: log[row][0]):
            some = [*together]
            if restart:
                counters = LiveCounters(store, [counting])
            if published:
                counters.publish({"A1": START + HOUR, "A4": START})
            names = [[f"A{article}" for article, _ in log[row][2]] for row in some]
            moments = [
                Moment.of(START + log[row][0] * HOUR, user=f"U{log[row][1]}") for row in some
            ]
            found = counters.features(counting, [*map(counters.known_numbers, names)], moments)
            assert found.tolist() == np.concatenate([expected[row] for row in some]).tolist()
            for row, moment in zip(some, moments, strict=True):
                assert counters.clicks(moment.user, moment.at, delay * HOUR, MOST) == clicks[row]
            for row in some:
                events = events_of(log)[row]
                added = counters.add(events, now=START + log[row][0] * HOUR)
                assert (added.counted, added.repeated, added.refused) == (len(events), 0, [])
        again = data.draw(st.permutations([*rows, *rows]))  # later events change nothing
        for row in again:
            moment = Moment.of(START + log[row][0] * HOUR, user=f"U{log[row][1]}")
            if moment.at >= counters.earliest(counting):
                names = [[f"A{article}" for article, _ in log[row][2]]]
                found = counters.features(counting, [*map(counters.known_numbers, names)], [moment])
                assert found.tolist() == expected[row].tolist()


def test_a_count_that_was_kept_ends_in_the_second_in_which_an_event_leaves_its_window() -> None:
    """What was counted for the last request would be counted for the next ones too."""
    counting = Counting((1,))
    counters = LiveCounters(Store(), [counting])
    counters.add([event("e1")], now=NOW)
    numbers = counters.known_numbers(["A1"])
    for second in (0, 1, 2, HOUR, HOUR + 1, HOUR + 2, 1):
        (found,) = counters.features(counting, [numbers], [Moment.of(NOW + second)])
        assert found[2] == (1 <= second <= HOUR)


def test_what_lies_beyond_the_longest_window_is_summed_up_and_its_ids_are_forgotten(
    tmp_path: Path,
) -> None:
    """The store would grow with every event for ever, or forget the counts."""
    counting = Counting((2, None))
    counters = LiveCounters(Store(tmp_path / "store"), [counting])
    for hour in range(12):
        some = [event(f"{hour}-{n}", NOW + hour * HOUR, [EXPOSURE, CLICK][n]) for n in range(2)]
        assert counters.add(some, now=NOW + hour * HOUR).counted == 2
    with sqlite3.connect(tmp_path / "store") as store:
        rows = store.execute("SELECT count(*) FROM events WHERE id IS NOT NULL").fetchone()
    assert rows == (2 * 4,)  # two hours, one for requests of the past, and the present one
    for each in (counters, LiveCounters(Store(tmp_path / "store"), [counting])):
        found = each.features(counting, [each.known_numbers(["A1"])], [Moment(NOW + 12 * HOUR)])
        assert found.tolist() == [[12, 2, 12, 2, 12, 2, 2]]
        with pytest.raises(ValueError, match="summed up"):
            each.features(counting, [each.known_numbers(["A1"])], [Moment(NOW + 9 * HOUR)])


def test_articles_that_two_threads_number_at_once_have_numbers_of_their_own() -> None:
    """Two articles of one number would share their clicks."""

    class Interrupted(dict[str, int]):
        def setdefault(self, article: str, number: int) -> int:
            if article == "A1":  # another thread is in between
                counters.numbers(["A2", "A1 too"])
            return super().setdefault(article, number)

    counters = LiveCounters(Store())
    counters._articles = Interrupted()
    numbers = counters.numbers(["A1", "A2", "A1 too"])
    assert len(set(numbers.tolist())) == 3
    assert counters.known_numbers(["A1", "A2", "A1 too"]).tolist() == numbers.tolist()


BAD = [
    (None, "Expected id, kind, article, user, time"),
    ({**event("e"), "more": 1}, "more"),
    ({"id": "e"}, "got id"),
    ({**event("e"), "id": 3}, "Expected id as a text"),
    ({**event("e"), "id": ""}, "Expected id as a text"),
    ({**event("e"), "id": "\ud800"}, "Expected id as a text"),
    ({**event("e"), "user": "\0"}, "Expected user as a text"),
    ({**event("e"), "user": None}, "Expected user as a text"),
    ({**event("e"), "article": "x" * 201}, "Expected article as a text"),
    ({**event("e"), "article": "A2"}, "No article has the id 'A2'"),
    ({**event("e"), "kind": ["click"]}, "Expected kind"),
    ({**event("e"), "time": str(NOW)}, "Expected time as a number"),
    ({**event("e"), "time": True}, "Expected time as a number"),
    ({**event("e"), "time": float("nan")}, "as a number"),
    ({**event("e"), "time": NOW * 1000}, "in the future"),  # milliseconds
    ({**event("e"), "time": NOW + 61}, "in the future"),
    ({**event("e"), "time": NOW - 24 * HOUR - 1}, "before all windows"),
    ({**event("e"), "time": -(10**400)}, "before all windows"),
]


def test_bad_events_are_refused_with_the_reason_and_the_rest_counts() -> None:
    counters = LiveCounters(Store())
    bad = [each for each, _ in BAD]
    good = [event("a"), event("b", NOW + 60), event("c", NOW - 24 * HOUR), event("d", user="")]
    added = counters.add([*bad[:5], *good, *bad[5:]], known={"A1"}, now=NOW)
    assert (added.counted, added.repeated, len(added.refused)) == (len(good), 0, len(bad))
    places = [*range(5), *range(5 + len(good), len(bad) + len(good))]
    for place, (_, why), refused in zip(places, BAD, added.refused, strict=True):
        assert refused.place == place
        assert why in refused.why
        assert refused.id in ("e", None)
    everyone = counters.features(Counting(), [counters.known_numbers(["A1"])], [Moment(NOW + 61)])
    assert everyone[0, LATEST] == len(good)
    of_others = counters.features(
        Counting(), [counters.known_numbers(["A1"])], [Moment(NOW + 61, "U1")]
    )
    assert of_others[0, LATEST] == 1  # nobody is known to be the user without an id


def test_counters_of_all_time_alone_take_events_that_are_minutes_late() -> None:
    """Each event arrives after it happened: the service would refuse all of them."""
    counting = Counting((None,))
    counters = LiveCounters(Store(), [counting])
    assert counters.add([event("a", NOW - 60), event("b", NOW - 1)], now=NOW).refused == []
    assert counters.add([event("c", NOW - 600)], now=NOW).refused == []
    everyone = counters.features(counting, [counters.known_numbers(["A1"])], [Moment(NOW + 1)])
    assert everyone[0].tolist()[1:] == [0, 3]


def test_a_failed_commit_counts_nothing(tmp_path: Path) -> None:
    """Otherwise the counters would differ after the next start."""
    store = Store(tmp_path / "store")
    counters = LiveCounters(store)
    with pytest.raises(StoreError):
        store.add([Event("a", CLICK, "A1", "U1", NOW), Event("b", CLICK, None, "U1", NOW)], 0, NOW)
    with store.tallies(-1) as found:
        assert [*found.tallies] == []
    assert counters.add([event("a")], now=NOW).counted == 1


def test_a_file_that_is_no_store_or_a_later_one_is_refused(tmp_path: Path) -> None:
    """Its events would be lost, or misread."""
    (tmp_path / "text").write_text("no database" * 100)
    with pytest.raises(ValueError, match="expects a store of events"):
        Store(tmp_path / "text")
    with pytest.raises(ValueError, match="expects a store of events"):
        Store(tmp_path / "no folder" / "store")
    Store(tmp_path / "later").close()
    later = sqlite3.connect(tmp_path / "later")
    later.execute("UPDATE about SET version = 99")
    later.commit()
    with pytest.raises(ValueError, match="schema version 99"):
        Store(tmp_path / "later")
