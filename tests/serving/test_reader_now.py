"""What a reader saw, clicked and reads now: a service ranks by it as evaluation does."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from served import Served, in_order_given, serve
from tiny import DATASET, NEWS, Tiny

from recbole_tinynews.files.columns import CONTEXT, CONTEXT_ARTICLE, DEVICE, SUBSCRIBER, typed
from recbole_tinynews.serving.article_fields import Query
from recbole_tinynews.serving.events import Moment, data_set_events
from recbole_tinynews.serving.ranker import Ranker

AT = 1573000030  # within the tiny data set's time
VISIT = {"at": AT, "user": "U1", "page": "N5", "device": "1", "subscriber": True}
PARTS = {"popularity": "added", "reader": "added", "context": "added", "history_from": "log"}


@pytest.fixture(scope="module")
def served(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Trained on impressions of which two in three are on an article's page."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(tiny.data, folder / "data")
    for file in (folder / "data" / DATASET).glob("*.inter"):
        header, *rows = file.read_text().splitlines()
        lines = ["\t".join([header, *typed(CONTEXT)])]
        for number, row in enumerate(rows):
            page = f"N{1 + number % NEWS}" if number % 3 else ""
            subscriber = ("0", "1", "")[number % 3]
            lines.append("\t".join([row, page, str(number % 2), f"s{number // 4}", subscriber]))
        file.write_text("\n".join(lines) + "\n")
    tiny = tiny._replace(data=folder / "data")
    return serve(tiny, max_steps=2, checkpoint_dir=str(folder / "saved"), **PARTS)


@pytest.fixture
def ranker(served: Served) -> Ranker:
    """With all articles and events of the data set."""
    ranker = served.load_with_news(store=":memory:")
    ranker.counters.add_past(data_set_events(served.data / DATASET))
    return ranker


def test_a_replayed_test_set_has_the_scores_of_evaluation(served: Served) -> None:
    """A reader's own clicks, pages and visits would be other ones than those it learnt from."""
    ranker, test = served.load_with_news(store=":memory:"), served.run.factory.test
    histories, candidates, expected = served.impressions()
    shown, names = test.inter_feat, test.field2id_token[test.iid_field]
    users, events = test.field2id_token[test.uid_field], [*data_set_events(served.data / DATASET)]
    for row in np.argsort(shown.timestamp, kind="stable"):
        at, columns = int(shown.timestamp[row]), shown.columns
        known = [event for event in events if event.time < at]
        events = events[len(known) :]
        ranker.counters.add_past(known)
        page, subscriber = columns[CONTEXT_ARTICLE][row], columns[SUBSCRIBER][row]
        visit: dict[str, Any] = {
            "user": str(users[shown.user[row]]),
            "page": str(names[page]) if page else None,
            "device": test.devices[columns[DEVICE][row]],
            "subscriber": None if np.isnan(subscriber) else bool(subscriber),
        }
        ranked = ranker.rank(histories[row], candidates[row], at=at, **visit)
        np.testing.assert_allclose(in_order_given(ranked), expected[row], rtol=1e-5, atol=1e-5)


def test_the_order_of_two_articles_is_the_same_in_lists_of_any_length(ranker: Ranker) -> None:
    """What a reader saw of one article would move another one."""
    ids = list(ranker.news_ids)
    every = in_order_given(ranker.rank([], ids, **VISIT))
    for size in (2, 5, len(ids) // 2):
        some = in_order_given(ranker.rank([], ids[:size], **VISIT))
        np.testing.assert_allclose(some, every[:size], rtol=1e-5, atol=1e-6)
    best = ranker.top([], len(ids), leave_out_clicked=False, **VISIT)
    np.testing.assert_allclose([e.score for e in best], np.sort(every)[::-1], rtol=1e-5, atol=1e-6)


def test_many_readers_have_the_scores_of_one(ranker: Ranker) -> None:
    """Pages and clicks of one reader would rank for another."""
    ids = list(ranker.news_ids)
    visits = {
        "at": [AT, AT + 9, AT - 20],
        "user": ["U1", None, "U3"],
        "page": ["N5", None, "nowhere"],
        "device": ["new", "1", None],
        "subscriber": [True, None, False],
    }
    ranked = ranker.rank([[], ["N4"], ["N7"]], [ids] * 3, **visits)
    for row, history in enumerate([[], ["N4"], ["N7"]]):
        own = {name: values[row] for name, values in visits.items()}
        alone = ranker.rank(history, ids, **own)
        np.testing.assert_allclose(in_order_given(ranked[row]), in_order_given(alone), atol=1e-5)


def test_each_part_of_a_visit_changes_the_scores(ranker: Ranker) -> None:
    """A part that is accepted and not read would be taken for one that counts."""
    ids = list(ranker.news_ids)
    whole = in_order_given(ranker.rank([], ids, **VISIT))
    for part in ("user", "page", "device", "subscriber"):
        without = {name: value for name, value in VISIT.items() if name != part}
        assert not np.allclose(in_order_given(ranker.rank([], ids, **without)), whole)


def test_contributions_add_up_to_the_score(ranker: Ranker) -> None:
    """The page would explain another score than the one that ranks."""
    shown = ["N5", "N6", "N8"]
    parts = np.array(ranker.contributions(Query(["N4"], shown, Moment.of(*VISIT.values()))))
    scores = in_order_given(ranker.rank(["N4"], shown, **VISIT))
    np.testing.assert_allclose(parts.sum(1), scores, rtol=1e-5, atol=1e-5)
    assert (np.ptp(parts, axis=0) > 0).all()


def test_a_request_without_a_history_is_ranked_by_the_clicks_of_the_store(ranker: Ranker) -> None:
    """Every app would have to keep the clicks that the service has."""
    testclient = pytest.importorskip("fastapi.testclient", reason="no extra serve")
    from served import state_of

    from recbole_tinynews.serving.service.app import make_app

    shown = ["N5", "N6", "N8"]
    expected = ranker.rank([], shown, **VISIT)
    assert expected != ranker.rank([], shown, at=AT)
    app = make_app(state_of({"reader": ranker}), max_body=20_000)
    with testclient.TestClient(app) as client:
        asked = {"candidates": shown, "contributions": True, **VISIT}
        answer = client.post("/rank", json=asked).json()
    assert [each["id"] for each in answer["ranked"]] == [each.candidate for each in expected]
    scores = [each["score"] for each in answer["ranked"]]
    np.testing.assert_allclose(scores, [each.score for each in expected], rtol=1e-5, atol=1e-5)
    parts = [[*part.values()] for part in answer["contributions"]]
    np.testing.assert_allclose(np.sum(parts, axis=1), scores, rtol=1e-4, atol=1e-4)
    assert answer["contributions"][0].keys() == {"text", "popularity", "freshness", "reader"}


def test_without_a_time_texts_and_the_history_given_rank_alone(ranker: Ranker) -> None:
    """Whoever has no store would get an error, or the clicks of another time."""
    ids = list(ranker.news_ids)
    alone = ranker.rank(["N4"], ids)
    store, ranker.counters = ranker.counters, None
    assert alone == ranker.rank(["N4"], ids)
    ranker.counters = store
    with pytest.raises(ValueError, match="page together with at"):
        ranker.rank(["N4"], ids, page="N5")
