"""What is committed is there for every process, in both databases."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import make_url

from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.files.whole import exclusive_lock
from recbole_tinynews.serving.events import CLICK, EXPOSURE, Event
from recbole_tinynews.serving.live_counters import LiveCounters, Moment
from recbole_tinynews.serving.store import NEWER, Store, StoredArticle

HOUR = 3600
NOW = 1_700_000_000
COUNTING = Counting((2, None))


def event(name: str, time: int = NOW, article: str = "A1") -> Event:
    return Event(name, EXPOSURE, article, "U1", time)


def totals(counters: LiveCounters, at: int = NOW + 1) -> list[list[float]]:
    articles = [counters.known_numbers(["A1", "A2"])]
    found = counters.features(COUNTING, articles, [Moment(at)])
    return found[:, 1 : len(COUNTING.names)].tolist()


def test_each_process_counts_what_another_one_commits(place: str) -> None:
    """Replicas would answer differently, for ever."""
    one, other = (LiveCounters(Store(place), [COUNTING]) for _ in range(2))
    assert one.add([event("a")], now=NOW).counted == 1
    assert other.add([event("a"), event("b", article="A2")], now=NOW) == (1, 1, 0, [])
    one.catch_up()
    assert totals(one) == totals(other) == [[0, 0, 1, 1], [0, 0, 1, 1]]
    # one sums up what the other has counted as events, and what a third one has not seen
    late = NOW + 20 * HOUR
    asleep = LiveCounters(Store(place), [COUNTING])
    assert other.add([event("c", NOW + 10)], now=NOW + 10).counted == 1
    assert one.add([event("d", late - HOUR), event("e", late)], now=late).counted == 2
    for each in (other, asleep, LiveCounters(Store(place), [COUNTING])):
        each.catch_up()
        assert totals(each, late + 1) == totals(one, late + 1) == [[0, 0, 2, 4], [0, 0, 0, 1]]
        assert each.earliest(COUNTING) == one.earliest(COUNTING) > NOW


def test_a_process_that_lags_notices_what_was_taken_out_before_a_summing_up(place: str) -> None:
    """What others have forgotten, falling back to an older event, would leave its counts there."""
    store, late = Store(place), NOW + 20 * HOUR
    store.add([event("old"), event("recent", late - 1)], keep=99 * HOUR, now=late)
    lagging = LiveCounters(Store(place), [COUNTING])
    lagging.catch_up()
    store.drop_after(late - 2)
    store.add([event("b", late - HOUR - 2), event("c", late - 2)], keep=HOUR, now=late)
    lagging.catch_up()
    others = LiveCounters(Store(place), [COUNTING])
    others.catch_up()
    found = totals(lagging, late + 2 * HOUR)
    assert found == totals(others, late + 2 * HOUR) == [[0, 0, 0, 3], [0, 0, 0, 0]]


def test_no_commit_is_missed_by_a_reader_while_several_write(place: str) -> None:
    """A number that is drawn before its commit is passed over by who reads in between."""
    seen, going = LiveCounters(Store(place), [COUNTING]), 4

    def write(number: int) -> None:
        nonlocal going
        store = Store(place)
        for turn in range(20):
            store.add([event(f"{number}-{turn}-{n}") for n in range(3)], 0, NOW - 99 * HOUR)
            store.put([StoredArticle.of(f"{number}-{turn}", None, title="x")])
        going -= 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    reader, sequence, found = Store(place), 0, []
    while going:
        seen.catch_up()
        sequence, new = reader.articles(sequence)
        found += new
    for thread in threads:
        thread.join()
    seen.catch_up()
    found += reader.articles(sequence)[1]
    assert totals(seen)[0][-1] == 4 * 20 * 3
    assert len(found) == len({each.id for each in found}) == 4 * 20
    assert found == reader.articles()[1]


def test_what_is_new_is_found_without_reading_what_is_counted(tmp_path: Path) -> None:
    """Each event cost a pass over all earlier ones: 100 took half a second beside a million."""
    Store(tmp_path / "store.db").close()
    with sqlite3.connect(tmp_path / "store.db") as store:
        plan = store.execute(f"EXPLAIN QUERY PLAN {NEWER}", {"since": 5}).fetchall()
    assert "events_by_sequence (sequence>?)" in str(plan)


def test_articles_come_in_the_order_of_their_last_change(place: str) -> None:
    """Equal scores are ranked in this order, by every replica."""
    store = Store(place)
    odd = StoredArticle.of("b", 1.5, title="t\0\ud800", body="")
    store.put([odd, StoredArticle.of("a", None, title="x")])
    store.put([StoredArticle("c", None)])
    first, changed = store.articles()
    assert changed == [
        ("b", {"title": "t\0\ud800"}, 1.5),
        ("a", {"title": "x"}, None),
        ("c", None, None),
    ]
    store.put([StoredArticle.of("b", None, title="new")])
    assert Store(place).articles(first)[1] == [("b", {"title": "new"}, 1.5)]
    assert [each.id for each in Store(place).articles()[1]] == ["a", "c", "b"]


def test_processes_that_start_together_make_one_schema(place: str) -> None:
    made: list[Store] = []
    threads = [threading.Thread(target=lambda: made.append(Store(place))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.articles() for each in made] == [(0, [])] * 6


def test_a_process_waits_for_another_one_that_makes_the_schema(tmp_path: Path) -> None:
    """SQLite refuses at once to change a journal that another process writes."""
    place = tmp_path / "store.db"
    opening = threading.Thread(target=Store, args=(place,))
    with exclusive_lock(place, "opening it"):
        opening.start()
        opening.join(0.3)
        assert opening.is_alive()
        assert not place.exists()
    opening.join()
    assert Store(place).articles() == (0, [])


def test_a_log_is_added_as_a_whole_or_not_at_all(place: str, monkeypatch) -> None:
    """A second start would take half of a log for all of it."""
    monkeypatch.setattr("recbole_tinynews.serving.store.AT_ONCE", 2)
    log = [event(str(n), NOW + n * 10 * HOUR) for n in range(9)]
    counters = LiveCounters(Store(place), [COUNTING])

    def broken() -> object:
        yield from log[:-1]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        counters.add_past(broken(), if_empty=True)  # type: ignore[arg-type]
    assert counters.add_past(log, if_empty=True) == 9
    assert counters.add_past([event("x")], if_empty=True) == 0
    assert totals(counters, NOW + 99 * HOUR)[0] == [0, 0, 0, 9]
    clicks = [Event(f"{n}", CLICK, "A2", "", NOW + 99 * HOUR) for n in "xyz"]
    assert counters.add_past(clicks) == 3
    assert totals(counters, NOW + 99 * HOUR + 1)[1] == [3, 3, 0, 0]


def test_a_url_of_another_database_is_refused_without_its_password() -> None:
    """It was taken for a file, whose name was printed."""
    with pytest.raises(ValueError, match=r"got another URL: mysql://\.\.\.") as refused:
        Store("mysql://news:S3CRET@host/news")
    assert "S3CRET" not in str(refused.value)


def test_a_database_that_is_not_there_is_named_without_its_password(cluster) -> None:
    url = make_url(cluster.url("nothing")).set(username="tests", password="secret")
    with pytest.raises(ValueError, match="expects a store of events") as refused:
        Store(url.render_as_string(hide_password=False))
    assert "secret" not in str(refused.value)
    with pytest.raises(ValueError, match="expects a file or postgresql"):
        Store("postgres://:::")
