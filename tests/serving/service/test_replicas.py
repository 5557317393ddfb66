"""Several services on one store: what one of them answered, all of them know."""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked import SECONDS, ask
from served import Served, client_of, words_of
from test_posted_events import event, popular, started

from recbole_tinynews.serving.live_counters import LiveCounters
from recbole_tinynews.serving.serve import open_state
from recbole_tinynews.serving.store import Store

pytestmark = pytest.mark.whole

__all__ = ["popular"]  # a fixture
NEWS = [f"N{number}" for number in range(1, 31)]
CLICKS = ["N3", "N7"]


class Replica:
    """A service on a store, in this process."""

    def __init__(self, served: Served, place: str, stack: ExitStack) -> None:
        rankers = {"popular": served.load()}
        self.client = stack.enter_context(client_of(open_state(rankers, Store(place))))

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
    news = [{"id": n, "title": title} for n, title in zip(NEWS, words_of(NEWS), strict=True)]
    with ExitStack() as stack:
        one, other = (Replica(popular, place, stack) for _ in range(2))
        assert one.client.put("/news", json={"news": news}).json()["added"] == 30
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

    monkeypatch.setattr(app, "STALE", 1)
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


def test_kills_of_a_replica_and_of_the_database_lose_nothing_that_was_answered(
    popular: Served, cluster, tmp_path: Path
) -> None:
    """By SIGKILL, while several clients post to two services."""
    url, ended = cluster.new_database(), threading.Event()
    answered: list[str] = []
    (one, first), (other, second) = (
        started(tmp_path, popular.artifact.folder, f"--store={url}") for _ in range(2)
    )
    threads = clients_of([first, second], answered, ended)
    try:
        wait_for(answered, 150)
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
    again = LiveCounters(Store(url)).add([event(name, "A0") for name in answered])
    assert (again.counted, again.repeated) == (0, len(answered))
