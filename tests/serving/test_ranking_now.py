"""Ranking with live counters: the scores of evaluation, replayed through the service's own code."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Served, client_of, in_order_given, serve, state_of, words_of
from tiny import DATASET, NEWS, Tiny

from recbole_tinynews.evaluation.beyond_accuracy import rank_articles
from recbole_tinynews.evaluation.rerank import ReRanking, rerank_impressions
from recbole_tinynews.files.columns import CONTEXT, CONTEXT_ARTICLE, DEVICE, SUBSCRIBER, typed
from recbole_tinynews.serving.events import CLICK, Event, data_set_events
from recbole_tinynews.serving.live_counters import LiveCounters, Moment
from recbole_tinynews.serving.ranker import Query, Ranker
from recbole_tinynews.serving.store import Store

AT = 1573000030  # within the tiny data set's time
VISIT = {"at": AT, "user": "U1", "page": "N5", "device": "1", "subscriber": True}
READER = {"reader": "added", "context": "added", "history_from": "log", "history_length": 2}


@pytest.fixture(scope="module")
def of_others(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """What others saw and clicked counts."""
    folder = str(tmp_path_factory.mktemp("now"))
    return serve(tiny, max_steps=2, popularity="added", checkpoint_dir=folder)


def serve_readers(tiny: Tiny, folder: Path, model: str, **settings: Any) -> Served:
    """What the reader did counts too, and the page, in two impressions of three."""
    shutil.copytree(tiny.data, folder / "data")
    for file in (folder / "data" / DATASET).glob("*.inter"):
        header, *rows = file.read_text().splitlines()
        lines = ["\t".join([header, *typed(CONTEXT)])]
        for number, row in enumerate(rows):
            page = f"N{1 + number % NEWS}" if number % 3 else ""
            subscriber = ("0", "1", "")[number % 3]
            visit = [page, str(number % 2), f"s{number // 4}", subscriber, "", ""]
            lines.append("\t".join([row, *visit]))
        file.write_text("\n".join(lines) + "\n")
    tiny = tiny._replace(data=folder / "data")
    saved = str(folder / "saved")
    return serve(tiny, model, checkpoint_dir=saved, popularity="added", **READER, **settings)


@pytest.fixture(scope="module")
def of_the_reader(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return serve_readers(tiny, tmp_path_factory.mktemp("reader"), "PLMNR", max_steps=2)


GROWN = {"boosting_rounds": 30, "head_init": "pretrained"}


@pytest.fixture(scope="module")
def of_trees(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Trees, which compare categories too."""
    return serve_readers(tiny, tmp_path_factory.mktemp("trees"), "TimeBoosted", **GROWN)


@pytest.fixture(scope="module")
def of_both(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Trees that read the score of a trained student too."""
    folder = tmp_path_factory.mktemp("both")
    return serve_readers(tiny, folder, "BoostedStudent", **GROWN, max_steps=2)


@pytest.fixture(params=["of_others", "of_the_reader", "of_trees", "of_both"])
def served(request: pytest.FixtureRequest) -> Served:
    return request.getfixturevalue(request.param)


def with_events(served: Served) -> Ranker:
    """With all articles and events of the data set."""
    ranker = served.load_with_news(store=":memory:")
    ranker.counters.add_past(data_set_events(served.data / DATASET))
    return ranker


@pytest.fixture
def each_ranker(served: Served) -> Ranker:
    return with_events(served)


@pytest.fixture
def ranker(of_others: Served) -> Ranker:
    return with_events(of_others)


@pytest.fixture
def reader_ranker(of_the_reader: Served) -> Ranker:
    return with_events(of_the_reader)


def test_a_replayed_test_set_has_the_scores_of_evaluation(served: Served) -> None:
    """Impression by impression, each before its events: what is evaluated is what is served."""
    ranker, test = served.load_with_news(store=":memory:"), served.run.factory.test
    histories, candidates, expected = served.impressions()
    shown, names = test.inter_feat, test.field2id_token[test.iid_field]
    users, events = test.field2id_token[test.uid_field], [*data_set_events(served.data / DATASET)]
    recent = test.impressions(served.run.factory.config).recent
    recent = recent and recent.newest(np.arange(shown.rows), 2)
    plain = rank_articles(np.concatenate(expected), shown.candidates, shown.history, test.facts)
    about = np.concatenate(expected), shown.candidates, plain, {"ids": names}, recent
    ((_, unread),) = rerank_impressions(ReRanking.parse(["already_read"]), *about)
    for row in np.argsort(shown.timestamp, kind="stable"):
        at, columns = int(shown.timestamp[row]), shown.columns
        known = [event for event in events if event.time < at]
        events = events[len(known) :]
        ranker.counters.add_past(known)
        visit: dict[str, Any] = {"user": str(users[shown.user[row]])}
        if CONTEXT_ARTICLE in columns:
            page, subscriber = columns[CONTEXT_ARTICLE][row], columns[SUBSCRIBER][row]
            visit["page"] = str(names[page]) if page else None
            visit["device"] = test.devices[columns[DEVICE][row]]
            visit["subscriber"] = None if np.isnan(subscriber) else bool(subscriber)
        ranked = ranker.rank(histories[row], candidates[row], at=at, **visit)
        np.testing.assert_allclose(in_order_given(ranked), expected[row], rtol=1e-5, atol=1e-5)
        left = ranker.rank(histories[row], candidates[row], rerank=["already_read"], at=at, **visit)
        assert {each.candidate for each in left} == {*names[unread.ranked.row(row)]}


def test_many_users_and_the_top_have_the_scores_of_one(each_ranker: Ranker) -> None:
    """Own events, clicks and pages of one user must not count for another, nor times be swapped."""
    ids, clicks = list(each_ranker.news_ids), [["N4", "N9"], [], ["N7"]]
    visits = {
        "at": [AT, AT + 9, AT - 20],
        "user": ["U1", None, "U3"],
        "page": ["N5", None, "nowhere"],
        "device": ["new", "1", None],
        "subscriber": [True, None, False],
    }
    ranked = each_ranker.rank(clicks, [ids] * 3, **visits)
    best = each_ranker.top(clicks, 5, leave_out_clicked=False, **visits)
    for row in range(3):
        alone = each_ranker.rank(clicks[row], ids, **{k: v[row] for k, v in visits.items()})
        np.testing.assert_allclose(in_order_given(ranked[row]), in_order_given(alone), atol=1e-5)
        assert [each.candidate for each in best[row]] == [each.candidate for each in alone[:5]]
        np.testing.assert_allclose(
            [each.score for each in best[row]], [each.score for each in alone[:5]], atol=1e-5
        )


@pytest.mark.parametrize("user", [None, "U1"])
def test_the_order_of_two_articles_is_the_same_in_lists_of_any_length(
    each_ranker: Ranker, user: str | None
) -> None:
    """What ranks 11 candidates well would bury the most read article among 300."""
    ids, asked = list(each_ranker.news_ids), {**VISIT, "user": user}
    every = in_order_given(each_ranker.rank(["N4"], ids, **asked))
    for size in (2, 5, len(ids) // 2):
        some = in_order_given(each_ranker.rank(["N4"], ids[:size], **asked))
        np.testing.assert_allclose(some, every[:size], rtol=1e-5, atol=1e-5)
        assert np.argsort(some).tolist() == np.argsort(every[:size]).tolist()
    best = each_ranker.top(["N4"], len(ids), leave_out_clicked=False, **asked)
    np.testing.assert_allclose([e.score for e in best], np.sort(every)[::-1], rtol=1e-5, atol=1e-5)


def test_a_new_article_with_300_clicks_within_a_minute_is_on_top(each_ranker: Ranker) -> None:
    """Readers would look for the news of the hour in vain: no training impression has so many."""
    counters, others = each_ranker.counters, list(each_ranker.news_ids)
    now = counters.newest + 7200
    rows = [(name, now - 3600) for name in others for _ in range(20)]  # what all read before
    each_ranker.add_news({"N999": {"title": "words that nobody has written before"}})
    rows += [("N999", now - n // 5) for n in range(300)]
    clicks = [Event(f"n{n}", CLICK, name, f"V{n}", at) for n, (name, at) in enumerate(rows)]
    assert counters.add(clicks, now=now).counted == len(clicks)
    assert each_ranker.top([], k=1, at=now + 1)[0].candidate == "N999"


@pytest.mark.parametrize("served", ["of_others", "of_the_reader"], indirect=True)
def test_contributions_add_up_to_the_score(each_ranker: Ranker) -> None:
    """The page would explain another score than the one that ranks."""
    shown = ["N5", "N6", "N8"]
    explained = each_ranker.contributions(Query(["N4"], shown, Moment.of(**VISIT)))
    is_reader = each_ranker.settings["reader"] == "added"
    assert {"reader" in part for part in explained} == {is_reader}
    parts = np.array([[*part.values()] for part in explained])
    scores = in_order_given(each_ranker.rank(["N4"], shown, **VISIT))
    np.testing.assert_allclose(parts.sum(1), scores, rtol=1e-5, atol=1e-5)
    assert (np.ptp(parts, axis=0) > 0).all()


def test_other_articles_have_their_own_counters(ranker: Ranker, of_others: Served) -> None:
    """Numbers of articles are kept by row, and rows move when articles come and go."""
    ids = list(ranker.news_ids)
    ranker.rank(["N4"], ids, at=AT)
    ranker.forget(ids[:3])
    ranker.add_news({"mine": "Word12 word7", **dict(zip(ids[:2], words_of(ids[:2]), strict=True))})
    shown = list(ranker.news_ids)
    other = of_others.load()
    other.counters = ranker.counters
    titles = {each.id: each.fields[0] for each in ranker.index.snapshot.articles}
    other.add_news(titles)
    of_both = [each.rank(["N4"], shown, at=AT) for each in (ranker, other)]
    np.testing.assert_allclose(*map(in_order_given, of_both), atol=1e-5)
    texts = [{"id": name, "title": title} for name, title in titles.items()]
    of_texts = ranker.rank([{"title": titles["N4"]}], texts, at=np.int64(AT))
    np.testing.assert_allclose(in_order_given(of_texts), in_order_given(of_both[0]), atol=1e-5)


def test_without_a_time_texts_and_the_history_given_rank_alone(
    each_ranker: Ranker, served: Served
) -> None:
    """Whoever has no counters, or an index, keeps the ranking that he had."""
    ids = list(each_ranker.news_ids)
    texts, plain = each_ranker.rank(["N4"], ids), served.load()
    plain.add_news(dict(zip(ids, words_of(ids), strict=True)))
    assert texts == plain.rank(["N4"], ids)
    with pytest.raises(ValueError, match=r"load\(folder, store=FILE\)"):
        plain.rank(["N4"], ids, at=AT)
    for name in ("user", "page"):
        with pytest.raises(ValueError, match=f"{name} together with at"):
            each_ranker.rank(["N4"], ids, **{name: "U1"})
    for at in ("now", float("nan"), -1, True):
        with pytest.raises(ValueError, match="UTC seconds"):
            each_ranker.rank(["N4"], ids, at=at)
    for wrong in ({"user": 7}, {"page": {"title": "a"}}, {"device": 1}, {"subscriber": "yes"}):
        with pytest.raises(TypeError, match=f"{next(iter(wrong))} must be"):
            each_ranker.rank(["N4"], ids, at=AT, **wrong)
    with pytest.raises(ValueError, match="once for each of 2"):
        each_ranker.rank([[], []], [["N4"], ["N5"]], at=[AT, AT], user=["U1"])


def test_titles_that_look_like_ids_have_no_counters(ranker: Ranker) -> None:
    (as_title,) = ranker.rank([{"title": "N4"}], [{"title": "N5"}], at=AT)
    (unknown,) = ranker.rank([{"title": "N4"}], [{"id": "new", "title": "N5"}], at=AT)
    assert as_title.score == pytest.approx(unknown.score, abs=1e-5)


def test_a_recommender_of_texts_alone_refuses_times_and_events(student: Served) -> None:
    """Counters that change nothing would be taken for a ranking that knows the time."""
    with pytest.raises(ValueError, match="without popularity"):
        student.load(store=":memory:")
    ranker = student.load()
    ranker.counters = LiveCounters(Store())
    with pytest.raises(ValueError, match="trained with popularity"):
        ranker.rank(["word1"], ["word2"], at=AT)
    with pytest.raises(ValueError, match="trained with popularity"):
        ranker.add_events([])


def test_each_part_of_a_visit_changes_the_scores(reader_ranker: Ranker) -> None:
    """A part that is accepted and not read would be taken for one that counts."""
    ids = list(reader_ranker.news_ids)
    whole = in_order_given(reader_ranker.rank([], ids, **VISIT))
    for part in ("user", "page", "device", "subscriber"):
        without = {name: value for name, value in VISIT.items() if name != part}
        assert not np.allclose(in_order_given(reader_ranker.rank([], ids, **without)), whole)


def test_a_request_without_a_history_is_ranked_by_the_clicks_of_the_store(
    reader_ranker: Ranker,
) -> None:
    """Every app would have to keep the clicks that the service has."""
    pytest.importorskip("fastapi", reason="no extra serve")
    shown = ["N5", "N6", "N8"]
    expected = reader_ranker.rank([], shown, **VISIT)
    assert expected != reader_ranker.rank([], shown, at=AT)
    with client_of(state_of({"reader": reader_ranker})) as client:
        asked = {"candidates": shown, "contributions": True, **VISIT}
        answer = client.post("/rank", json=asked).json()
    assert [each["id"] for each in answer["ranked"]] == [each.candidate for each in expected]
    scores = [each["score"] for each in answer["ranked"]]
    np.testing.assert_allclose(scores, [each.score for each in expected], rtol=1e-5, atol=1e-5)
    parts = [[*part.values()] for part in answer["contributions"]]
    np.testing.assert_allclose(np.sum(parts, axis=1), scores, rtol=1e-4, atol=1e-4)
    assert answer["contributions"][0].keys() == {"text", "popularity", "freshness", "reader"}
    asked |= {"history": ["N3"], "click_weights": True}  # the store has a click on N2 too
    with client_of(state_of({"reader": reader_ranker})) as client:
        (weight,) = client.post("/rank", json=asked).json()["click_weights"]
    assert 0 < weight < 1 == pytest.approx(*reader_ranker.click_weights(["N3"]))
