"""Events over HTTP, and rankings that know the time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from served import Served, client_of, serve, words_of
from tiny import DATASET, Tiny

from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.serving import serve as command
from recbole_tinynews.serving.events import CLICK, Event
from recbole_tinynews.serving.live_counters import Moment

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from recbole_tinynews.serving.ranker import Ranker

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("_extra")]

NEWS = [f"N{number}" for number in range(1, 31)]
CLICKS, CANDIDATES = ["N3", "N7"], ["N20", "N5", "N9"]
EXPOSURES_EVER = Counting().names.index("exposures_ever")


@pytest.fixture(scope="module")
def popular(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory, _extra: None) -> Served:
    folder = str(tmp_path_factory.mktemp("popular"))
    return serve(tiny, max_steps=2, popularity="added", checkpoint_dir=folder)


@pytest.fixture
def rankers(popular: Served, teacher: Served) -> dict[str, Ranker]:
    """One with counters, and one of texts alone."""
    made = {"popular": popular.load(store=":memory:"), "teacher": teacher.load()}
    for ranker in made.values():
        ranker.add_news(dict(zip(NEWS, words_of(NEWS), strict=True)))
    return made


def event(name: str, article: str, kind: str = "exposure", **more: Any) -> dict[str, Any]:
    now = time.time() - 5
    return {"id": name, "kind": kind, "article": article, "user": "U1", "time": now, **more}


def test_what_was_posted_counts_in_the_next_ranking(
    client: TestClient, rankers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For other users; and it says what it was that counted."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    asked = {"history": CLICKS, "candidates": CANDIDATES, "contributions": True, "user": "U2"}
    before = client.post("/rank", json=asked).json()
    events = [event("a", "N5"), event("b", "N5", "click"), event("c", "N20")]
    answer = client.post("/events", json={"events": [*events, events[0]]})
    assert answer.json() == {"counted": 3, "repeated": 1, "held": 0, "refused": []}
    after = client.post("/rank", json=asked).json()
    own = client.post("/rank", json={**asked, "user": "U1"}).json()
    scores = [{e["id"]: e["score"] for e in each["ranked"]} for each in (before, after, own)]
    assert scores[0]["N5"] != scores[1]["N5"] != scores[2]["N5"]
    for each in (before, after, own):
        parts = [sum(part.values()) for part in each["contributions"]]
        np.testing.assert_allclose(parts, [e["score"] for e in each["ranked"]], atol=1e-4)
    expected = rankers["popular"].rank(CLICKS, CANDIDATES, at=time.time(), user="U2")
    np.testing.assert_allclose(
        [e["score"] for e in after["ranked"]], [e.score for e in expected], atol=1e-3
    )
    del asked["candidates"]
    top = client.post("/top", json={**asked, "k": 3}).json()
    best = rankers["popular"].top(CLICKS, 3, at=time.time(), user="U2")
    assert [each["id"] for each in top["ranked"]] == [each.candidate for each in best]
    parts = [sum(part.values()) for part in top["contributions"]]
    np.testing.assert_allclose(parts, [each["score"] for each in top["ranked"]], atol=1e-3)


def test_an_article_that_is_removed_while_it_is_ranked_is_still_explained(
    client: TestClient, rankers, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = rankers["popular"]
    asked = {"history": CLICKS, "contributions": True, "click_weights": True}
    answer_first = ranker.answer

    def and_remove(*arguments):
        found = answer_first(*arguments)
        ranker.forget([each for each in ("N5", CLICKS[-1]) if each in ranker.index])
        return found

    monkeypatch.setattr(ranker, "answer", and_remove)
    for path in ("/top", "/rank"):
        body = {**asked, "k": 40} if path == "/top" else {**asked, "candidates": CANDIDATES}
        answer = client.post(path, json=body)
        ranker.add_news(dict(zip(NEWS, words_of(NEWS), strict=True)))
        assert answer.status_code == 200
        assert "N5" in [each["id"] for each in answer.json()["ranked"]]
        assert len(answer.json()["contributions"]) == len(answer.json()["ranked"])


def test_bad_events_are_refused_alone_and_the_answer_says_which_and_why(client: TestClient) -> None:
    """A batch that fails as a whole would be sent again for ever."""
    bad = [event("x", "N99"), event("y", "N5", time="now"), 3, {}, event("z", "N5", time=1)]
    answer = client.post("/events", json={"events": [event("a", "N5"), *bad, event("b", "N5")]})
    assert answer.status_code == 200
    content = answer.json()
    assert (content["counted"], content["repeated"]) == (2, 0)
    refused = [(each["place"], each["id"]) for each in content["refused"]]
    assert refused == [(1, "x"), (2, "y"), (3, None), (4, None), (5, "z")]
    assert "No article has the id 'N99'" in content["refused"][0]["why"]
    assert "before all windows" in content["refused"][4]["why"]


def test_a_recommender_of_texts_alone_ranks_as_before(client: TestClient, rankers) -> None:
    asked = {"history": CLICKS, "candidates": CANDIDATES, "recommender": "teacher"}
    answer = client.post("/rank", json={**asked, "contributions": True, "user": "U1"}).json()
    expected = rankers["teacher"].rank(CLICKS, CANDIDATES)
    np.testing.assert_allclose(
        [e["score"] for e in answer["ranked"]], [e.score for e in expected], atol=1e-5
    )
    assert answer["contributions"] is None
    refused = client.post("/rank", json={**asked, "at": time.time()})
    assert refused.json()["detail"][0]["loc"] == ["body", "at"]
    health = client.get("/health").json()["recommenders"]
    assert [each["popularity"] for each in health] == [True, False]


@pytest.mark.parametrize("at", ["now", -1, 10**12, True, float("nan"), 1_000_000])
def test_a_time_that_cannot_be_counted_at_is_refused(client: TestClient, rankers, at: Any) -> None:
    now = int(time.time())
    log = [Event(f"{hour}", CLICK, "N5", "U1", now - 3600 * hour) for hour in range(99, 0, -1)]
    rankers["popular"].counters.add_past(log)  # sums up what is older
    text = json.dumps({"history": CLICKS, "candidates": CANDIDATES, "at": at})
    answer = client.post("/rank", content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "at"]


def test_a_service_without_counters_says_why_it_takes_no_events(student: Served) -> None:
    with client_of({"student": student.load()}) as client:
        answer = client.post("/events", json={"events": [event("a", "N5")]})
    assert answer.status_code == 422
    assert "trained with popularity" in answer.json()["detail"][0]["msg"]


def test_ages_count_from_publication_if_it_is_known(client: TestClient) -> None:
    asked = {"history": CLICKS, "candidates": ["N20", "new"], "contributions": True}
    news = [{"id": name, "title": "word1"} for name in ("N20", "new")]
    news[1]["published"] = time.time() - 3600
    assert client.put("/news", json={"news": news}).is_success
    answer = client.post("/rank", json=asked).json()
    freshness = {
        each["id"]: part["freshness"]
        for each, part in zip(answer["ranked"], answer["contributions"], strict=True)
    }
    assert freshness["N20"] != pytest.approx(freshness["new"], abs=1e-3)


def test_a_store_begins_with_a_log_once(popular: Served, tmp_path: Path, monkeypatch) -> None:
    """A log that is read again would count twice."""
    from recbole_tinynews.serving.service import server

    store, log = tmp_path / "store", popular.data / DATASET
    apps: list[Any] = []
    monkeypatch.setattr(server, "run", lambda app, *rest: apps.append(app))
    asked = [str(popular.artifact.folder), f"--store={store}", f"--log={log}", "--port=0"]
    for _ in range(2):
        command.main(asked)
    totals = [
        counters.features(Counting(), [counters.known_numbers(NEWS)], [Moment(1_700_000_000)])[
            :, EXPOSURES_EVER
        ]
        for counters in (app.state.service.counters for app in apps)
    ]
    assert totals[0].sum() > 100
    assert totals[0].tolist() == totals[1].tolist()


def test_a_log_for_recommenders_of_texts_alone_is_refused(
    student: Served, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its events would be kept and change nothing."""
    with pytest.raises(SystemExit):
        command.main([str(student.artifact.folder), f"--log={tmp_path}", "--port=0"])
    assert "--popularity=added" in capsys.readouterr().err
