"""A service on a machine whose clock is wrong ranks, and says what is wrong."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from served import Served, words_of
from test_posted_events import event, popular
from test_replicas import CLICKS, NEWS, Replica

from recbole_tinynews.serving.live_counters import LiveCounters

pytestmark = pytest.mark.whole

__all__ = ["popular"]  # a fixture
HOUR, YEAR = 3600, 365 * 24 * 3600
ASKED = {"history": CLICKS, "candidates": NEWS[8:], "user": "U9"}


class Clock:
    """Of all services of this process; it stands still, as articles' ages are in the scores."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.right, self.ahead = time.time(), 0.0
        patch.setattr(time, "time", lambda: self.right + self.ahead)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def with_a_day_of_events(replica: Replica, clock: Clock) -> None:
    news = [{"id": n, "title": title} for n, title in zip(NEWS, words_of(NEWS), strict=True)]
    assert replica.client.put("/news", json={"news": news}).is_success
    for hour in range(40):
        clock.ahead = (hour - 39) * HOUR
        some = [event(f"{hour} {n}", NEWS[hour % 20], "click", user=f"U{n}") for n in range(2)]
        assert replica.client.post("/events", json={"events": some}).json()["counted"] == 2


def scores(answer: Any) -> list[float]:
    assert answer.status_code == 200
    return [each["score"] for each in sorted(answer.json()["ranked"], key=lambda e: e["place"])]


def test_a_service_ranks_whatever_its_clock_says(popular: Served, place: str, clock: Clock) -> None:
    """Every request was a 422 for as long as the clock was hours back, or had been ahead."""
    with ExitStack() as stack:
        one, other = (Replica(popular, place, stack) for _ in range(2))
        with_a_day_of_events(one, clock)
        right = scores(one.client.post("/rank", json=ASKED))
        until = time.monotonic() + 10  # the other reads the store every second
        while (
            there := other.client.post("/rank", json=ASKED)
        ).status_code == 422 or not np.allclose(scores(there), right, rtol=1e-4):
            assert time.monotonic() < until, "the other service has not read articles and events"
            time.sleep(0.02)
        ranker = popular.load()
        ranker.add_news(dict(zip(NEWS, words_of(NEWS), strict=True)))
        ranked = ranker.rank(CLICKS, NEWS[8:])
        by_text = [each.score for each in sorted(ranked, key=lambda each: each.place)]
        for back in (2 * HOUR, YEAR, 99 * YEAR):
            clock.ahead = -back
            for each in (one, other, Replica(popular, place, stack)):
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
        for each in (one, other, Replica(popular, place, stack)):
            answer = each.client.post("/rank", json=ASKED)
            np.testing.assert_allclose(scores(answer), right, atol=1e-4)
            assert answer.json()["warning"] is None
            assert each.client.get("/readyz").json() == {"status": "ok", "warning": None}
        some = {"events": [event("right again", "N9")]}
        assert other.client.post("/events", json=some).json()["counted"] == 1


def test_events_ahead_of_the_clock_are_told(popular: Served, place: str, clock: Clock) -> None:
    """They count later only, and no answer would say why they do not count now."""
    with ExitStack() as stack:
        replica = Replica(popular, place, stack)
        with_a_day_of_events(replica, clock)
        clock.ahead = -600
        assert replica.client.post("/rank", json=ASKED).json()["warning"] is None
        assert "The newest counted event is of" in replica.client.get("/readyz").json()["warning"]


def test_what_is_summed_up_while_a_request_waits_is_no_failure(
    popular: Served, clock: Clock, tmp_path, monkeypatch: pytest.MonkeyPatch
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
