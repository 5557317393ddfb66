"""Several services on one store: what one answered, all know; a wrong clock stops none of them."""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from forked import SECONDS, ask, served_in_a_fork
from served import Served, client_of, in_order_given, words_of
from test_posted_events import EXPOSURES_EVER, event, popular

from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.serving.live_counters import LiveCounters, Moment
from recbole_tinynews.serving.service.state import open_state
from recbole_tinynews.serving.store import Store

pytestmark = pytest.mark.whole

__all__ = ["popular"]  # a fixture
NEWS = [f"N{number}" for number in range(1, 31)]
CLICKS = ["N3", "N7"]
HOUR, YEAR = 3600, 365 * 24 * 3600
ASKED = {"history": CLICKS, "candidates": NEWS[8:], "user": "U9"}


class Replica:
    """A service on a store, in this process."""

    def __init__(self, served: Served, place: str, stack: ExitStack) -> None:
        rankers = {"popular": served.load()}
        self.client = stack.enter_context(client_of(open_state(rankers, Store(place))))

    def with_news(self) -> list[dict[str, Any]]:
        """The thirty articles of the data set, which are added."""
        news = [{"id": n, "title": title} for n, title in zip(NEWS, words_of(NEWS), strict=True)]
        assert self.client.put("/news", json={"news": news}).json()["added"] == 30
        return news

    def answers(self, at: float) -> tuple[list[Any], list[float]]:
        """To the same questions, at the same time: what is found in which order, and scores."""
        asked = {"history": CLICKS, "at": at, "user": "U2", "contributions": True}
        ranked = self.client.post("/rank", json={**asked, "candidates": NEWS[8:]}).json()
        top = self.client.post("/top", json={**asked, "k": 40}).json()
        if "ranked" not in ranked or "ranked" not in top:  # it has no such articles yet
            return [ranked, top], []
        found = [(each["id"], each.get("title")) for a in (ranked, top) for each in a["ranked"]]
        scores = [each["score"] for a in (ranked, top) for each in a["ranked"]]
        scores += [value for a in (ranked, top) for p in a["contributions"] for value in p.values()]
        return [*found, self.client.get("/news?limit=100").json()], scores


def same_within_a_second(one: Replica, other: Replica, at: float) -> None:
    """Each may have something to read that the other one was told."""
    until = time.monotonic() + 1
    while True:
        expected, found = one.answers(at), other.answers(at)
        assert expected[1]
        # batches differ, and so do last digits
        same = found[0] == expected[0] and np.allclose(found[1], expected[1], rtol=1e-4, atol=0)
        if same or time.monotonic() > until:
            break
        time.sleep(0.02)
    assert found[0] == expected[0]
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4)


def test_replicas_give_equal_answers(popular: Served, place: str) -> None:
    """To events, new, changed and removed articles, whichever of them they came to."""
    at = time.time() + 30
    with ExitStack() as stack:
        one, other = (Replica(popular, place, stack) for _ in range(2))
        news = one.with_news()
        same_within_a_second(one, other, at)
        before = one.answers(at)
        assert len(before[0]) == 22 + 28 + 1
        events = [event("a", "N9", "click"), event("b", "N12")]
        assert other.client.post("/events", json={"events": events}).json()["counted"] == 2
        same_within_a_second(other, one, at)
        assert one.answers(at)[1] != before[1]
        assert one.client.post("/events", json={"events": events}).json()["repeated"] == 2
        copy = {"id": "copy", "title": news[10]["title"], "published": at - 9999}
        assert one.client.put("/news", json={"news": [copy, news[4]]}).json()["changed"] == 1
        assert other.client.delete("/news/N8").status_code == 204
        assert other.client.put("/news", json={"news": [{**news[1], "title": "word9"}]}).is_success
        same_within_a_second(other, one, at)
        same_within_a_second(Replica(popular, place, stack), one, at)  # after a restart, too


def test_without_its_database_a_service_ranks_and_takes_nothing(
    popular: Served, cluster, monkeypatch
) -> None:
    """503 says that nothing is known to be committed; the client sends it again."""
    from recbole_tinynews.serving.service import app

    tracebacks: list[bool] = []
    monkeypatch.setattr(app, "STALE", 1)
    monkeypatch.setattr(app.LOG, "error", lambda *_, exc_info: tracebacks.append(exc_info))
    news = {"news": [{"id": "A", "title": "word1"}]}
    with ExitStack() as stack:
        client = Replica(popular, cluster.new_database(), stack).client
        assert client.put("/news", json=news).is_success
        assert client.post("/events", json={"events": [event("a", "A")]}).json()["counted"] == 1
        cluster.kill()
        for answer in (
            client.post("/events", json={"events": [event("b", "A")]}),
            client.put("/news", json=news),
            client.delete("/news/A"),
        ):
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
        assert client.post("/rank", json={"history": [], "candidates": ["A"]}).is_success
        time.sleep(1.1)
        assert [client.get(path).status_code for path in ("/livez", "/readyz")] == [200, 503]
        assert {*tracebacks} == {False}
        cluster.start()
        events = {"events": [event("a", "A"), event("b", "A")]}
        added = client.post("/events", json=events).json()
        assert (added["counted"], added["repeated"]) == (1, 1)
        until = time.monotonic() + 5
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < until


def clients_of(addresses: list[str], answered: list[str], ended: threading.Event) -> list[Any]:
    """Threads that post events until the end, and note those that were answered."""
    numbers = count()

    def client(address: str) -> None:
        while not ended.is_set():
            some = [event(f"e{next(numbers)}", f"A{n}", time=int(time.time())) for n in range(5)]
            try:
                _, added = ask(address, "POST", "/events", {"events": some})
                if added.get("counted") == 5:  # none of a 503
                    answered.extend(each["id"] for each in some)
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                time.sleep(0.05)

    threads = [threading.Thread(target=client, args=(each,)) for each in addresses for _ in (0, 1)]
    for thread in threads:
        thread.start()
    return threads


def wait_for(answered: list[str], more: int) -> None:
    number, until = len(answered) + more, time.monotonic() + SECONDS
    while len(answered) < number:
        assert time.monotonic() < until, len(answered)
        time.sleep(0.01)


@pytest.mark.parametrize(
    "place", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True
)
def test_kills_of_a_replica_and_of_the_database_lose_nothing_that_was_answered(
    popular: Served, place: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """By SIGKILL, while several clients post to two services; one that is ended has not failed."""
    news, ended = tmp_path / "news.csv", threading.Event()
    news.write_text("id,title\n" + "".join(f"A{n},word{n}\n" for n in range(5)), encoding="utf-8")
    answered: list[str] = []
    (one, first), (other, second) = (
        served_in_a_fork(popular.artifact.folder, f"--store={place}", f"--news={news}")
        for _ in range(2)
    )
    threads = clients_of([first, second], answered, ended)
    try:
        wait_for(answered, 150)
        if place.startswith("postgresql"):
            cluster = request.getfixturevalue("cluster")
            cluster.kill()
            cluster.start()
            wait_for(answered, 150)
        one.kill()
        wait_for(answered, 150)
        other.terminate()
        other.join(SECONDS)
        assert other.exitcode == 0
    finally:
        ended.set()
        for thread in threads:
            thread.join(SECONDS)
    again = LiveCounters(Store(place))
    repeated = again.add([event(name, "A0") for name in answered])
    assert (repeated.counted, repeated.repeated) == (0, len(answered))
    articles = [again.known_numbers([f"A{n}" for n in range(5)])]
    found = again.features(Counting(), articles, [Moment.of(time.time() + 1)])
    counted = found[:, EXPOSURES_EVER].sum()
    assert len(answered) <= counted <= len(answered) + 3 * 4 * 5  # committed, and not answered


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Of all services of this process; it stands still, as articles' ages are in the scores."""
    clock, right = SimpleNamespace(ahead=0.0), time.time()
    monkeypatch.setattr(time, "time", lambda: right + clock.ahead)
    return clock


def with_a_day_of_events(replica: Replica, clock: SimpleNamespace) -> None:
    replica.with_news()
    for hour in range(40):
        clock.ahead = (hour - 39) * HOUR
        some = [event(f"{hour} {n}", NEWS[hour % 20], "click", user=f"U{n}") for n in range(2)]
        assert replica.client.post("/events", json={"events": some}).json()["counted"] == 2


def scores(answer: Any) -> list[float]:
    assert answer.status_code == 200
    return [each["score"] for each in sorted(answer.json()["ranked"], key=lambda e: e["place"])]


def test_a_service_ranks_whatever_its_clock_says(
    popular: Served, place: str, clock: SimpleNamespace
) -> None:
    """Every request was a 422 for as long as the clock was hours back, or had been ahead."""
    with ExitStack() as stack:
        one = Replica(popular, place, stack)
        with_a_day_of_events(one, clock)
        right = scores(one.client.post("/rank", json=ASKED))
        ranker = popular.load()
        ranker.add_news(dict(zip(NEWS, words_of(NEWS), strict=True)))
        by_text = in_order_given(ranker.rank(CLICKS, NEWS[8:]))
        clock.ahead = -600  # the newest events count later only, and no answer would say why
        assert one.client.post("/rank", json=ASKED).json()["warning"] is None
        assert "The newest counted event is of" in one.client.get("/readyz").json()["warning"]
        for back in (2 * HOUR, YEAR, 99 * YEAR):
            clock.ahead = -back
            for each in (one, Replica(popular, place, stack)):
                answer = each.client.post("/rank", json=ASKED)
                np.testing.assert_allclose(scores(answer), by_text, atol=1e-4)
                assert answer.json()["warning"].startswith("Ranked by text alone: the service's")
                ready = each.client.get("/readyz")
                assert ready.status_code == 200
                assert ready.json()["warning"].startswith("Ranked by text alone: the service's")
            top = one.client.post("/top", json={"history": CLICKS, "contributions": True}).json()
            assert (len(top["ranked"]), top["contributions"]) == (10, None)
            assert top["warning"].startswith("Ranked by text alone")
            refused = one.client.post("/rank", json={**ASKED, "at": max(0, time.time())})
            assert refused.json()["detail"][0]["loc"] == ["body", "at"]
        for far in (YEAR, 999 * YEAR):
            clock.ahead = far
            assert len(scores(one.client.post("/rank", json=ASKED))) == 22
            some = {"events": [event(f"of a clock {far} s ahead", "N9")]}
            answer = one.client.post("/events", json=some).json()
            assert (answer["counted"], answer["held"]) == (0, int(far == YEAR))
        clock.ahead = 0
        for each in (one, Replica(popular, place, stack)):
            answer = each.client.post("/rank", json=ASKED)
            np.testing.assert_allclose(scores(answer), right, atol=1e-4)
            assert answer.json()["warning"] is None
            assert each.client.get("/readyz").json() == {"status": "ok", "warning": None}
        some = {"events": [event("right again", "N9")]}
        assert one.client.post("/events", json=some).json()["counted"] == 1


def test_what_is_summed_up_while_a_request_waits_is_no_failure(
    popular: Served, clock: SimpleNamespace, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process, whose clock is right, may just have done so: it was a 500."""
    with ExitStack() as stack:
        replica = Replica(popular, str(tmp_path / "store"), stack)
        with_a_day_of_events(replica, clock)
        earliest, calls = LiveCounters.earliest, iter([1])
        monkeypatch.setattr(
            LiveCounters, "earliest", lambda *given: next(calls, None) or earliest(*given)
        )
        clock.ahead = -9 * HOUR
        assert replica.client.post("/rank", json=ASKED).json()["warning"] is not None
        calls = iter([1])
        refused = replica.client.post("/rank", json={**ASKED, "at": time.time()})
        assert refused.status_code == 422
