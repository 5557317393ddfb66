"""Ranking with live counters: the scores of evaluation, replayed through the service's own code."""

from __future__ import annotations

import numpy as np
import pytest
from served import Served, in_order_given, serve, words_of
from tiny import DATASET, Tiny

from recbole_tinynews.serving.article_fields import Query
from recbole_tinynews.serving.events import Moment, data_set_events
from recbole_tinynews.serving.live_counters import LiveCounters
from recbole_tinynews.serving.ranker import Ranker
from recbole_tinynews.serving.store import Store

AT = 1573000030  # within the tiny data set's time


@pytest.fixture(scope="module")
def served(tiny: Tiny, tmp_path_factory) -> Served:
    folder = str(tmp_path_factory.mktemp("now"))
    return serve(tiny, max_steps=2, popularity="added", checkpoint_dir=folder)


@pytest.fixture
def ranker(served: Served) -> Ranker:
    """With all articles and events of the data set."""
    ranker = served.load_with_news(store=":memory:")
    ranker.counters.add_past(data_set_events(served.data / DATASET))
    return ranker


def test_a_replayed_test_set_has_the_scores_of_evaluation(served: Served) -> None:
    """Impression by impression, each before its events: what is evaluated is what is served."""
    ranker, test = served.load_with_news(store=":memory:"), served.run.factory.test
    histories, candidates, expected = served.impressions()
    users, times = test.field2id_token[test.uid_field], test.inter_feat.timestamp
    events = [*data_set_events(served.data / DATASET)]
    for row in np.argsort(times, kind="stable"):
        at, user = int(times[row]), str(users[test.inter_feat.user[row]])
        known = [event for event in events if event.time < at]
        events = events[len(known) :]
        ranker.counters.add_past(known)
        ranked = ranker.rank(histories[row], candidates[row], at=at, user=user)
        np.testing.assert_allclose(in_order_given(ranked), expected[row], rtol=1e-5, atol=1e-5)


def test_other_articles_have_their_own_counters(ranker: Ranker, served: Served) -> None:
    """Numbers of articles are kept by row, and rows move when articles come and go."""
    ids = list(ranker.news_ids)
    ranker.rank(["N4"], ids, at=AT)
    ranker.forget(ids[:3])
    ranker.add_news({"mine": "Word12 word7", **dict(zip(ids[:2], words_of(ids[:2]), strict=True))})
    shown = list(ranker.news_ids)
    other = served.load()
    other.counters = ranker.counters
    titles = {each.id: each.fields[0] for each in ranker.index.snapshot.articles}
    other.add_news(titles)
    of_both = [each.rank(["N4"], shown, at=AT) for each in (ranker, other)]
    np.testing.assert_allclose(*map(in_order_given, of_both), atol=1e-5)
    texts = [{"id": name, "title": title} for name, title in titles.items()]
    of_texts = ranker.rank([{"title": titles["N4"]}], texts, at=AT)
    np.testing.assert_allclose(in_order_given(of_texts), in_order_given(of_both[0]), atol=1e-5)


def test_many_users_and_the_top_have_the_scores_of_one(ranker: Ranker) -> None:
    """Own events of one user must not be left out for another, nor times be exchanged."""
    ids = list(ranker.news_ids)
    clicks, at, users = [["N4", "N9"], [], ["N7"]], [AT, AT + 9, AT - 20], ["U1", None, "U3"]
    ranked = ranker.rank(clicks, [ids] * 3, at=at, user=users)
    best = ranker.top(clicks, 5, leave_out_clicked=False, at=at, user=users)
    for row in range(3):
        alone = ranker.rank(clicks[row], ids, at=at[row], user=users[row])
        np.testing.assert_allclose(in_order_given(ranked[row]), in_order_given(alone), atol=1e-5)
        assert [each.candidate for each in best[row]] == [each.candidate for each in alone[:5]]
        np.testing.assert_allclose(
            [each.score for each in best[row]], [each.score for each in alone[:5]], atol=1e-5
        )
    of_others = ranker.rank(["N4"], ids, at=AT, user="U1")
    of_everyone = ranker.rank(["N4"], ids, at=AT)
    assert not np.allclose(in_order_given(of_others), in_order_given(of_everyone))


@pytest.mark.parametrize("user", [None, "U1"])
def test_the_order_of_two_articles_is_the_same_in_lists_of_any_length(ranker: Ranker, user) -> None:
    """What ranks 11 candidates well would bury the most read article among 300."""
    ids = list(ranker.news_ids)
    asked = {"at": AT, "user": user}
    every = in_order_given(ranker.rank(["N4"], ids, **asked))
    for size in (2, 5, len(ids) // 2):
        some = in_order_given(ranker.rank(["N4"], ids[:size], **asked))
        np.testing.assert_allclose(some, every[:size], rtol=1e-5, atol=1e-6)
    best = ranker.top(["N4"], len(ids), leave_out_clicked=False, **asked)
    np.testing.assert_allclose([e.score for e in best], np.sort(every)[::-1], rtol=1e-5, atol=1e-6)


def test_contributions_add_up_to_the_score(ranker: Ranker) -> None:
    """The page would explain another score than the one that ranks."""
    shown = ["N5", "N6", "N8"]
    explained = ranker.contributions(Query(["N4"], shown, Moment.of(AT, "U1")))
    assert {part.reader for part in explained} == {None}
    parts = np.array([part[:3] for part in explained])
    scores = in_order_given(ranker.rank(["N4"], shown, at=AT, user="U1"))
    np.testing.assert_allclose(parts.sum(1), scores, rtol=1e-5, atol=1e-5)
    assert (np.ptp(parts, axis=0) > 0).all()


def test_without_a_time_it_ranks_by_text_alone(ranker: Ranker, served: Served) -> None:
    """Whoever has no counters, or an index, keeps the ranking that he had."""
    ids = list(ranker.news_ids)
    texts, plain = ranker.rank(["N4"], ids), served.load()
    plain.add_news(dict(zip(ids, words_of(ids), strict=True)))
    assert texts == plain.rank(["N4"], ids)
    with pytest.raises(ValueError, match=r"load\(folder, store=FILE\)"):
        plain.rank(["N4"], ids, at=AT)
    with pytest.raises(ValueError, match="user together with at"):
        ranker.rank(["N4"], ids, user="U1")
    for at in ("now", float("nan"), -1, True):
        with pytest.raises(ValueError, match="UTC seconds"):
            ranker.rank(["N4"], ids, at=at)
    with pytest.raises(ValueError, match="once for each of 2"):
        ranker.rank([[], []], [["N4"], ["N5"]], at=[AT, AT], user=["U1"])


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


def test_only_events_of_added_articles_count(ranker: Ranker) -> None:
    event = {"kind": "click", "user": "U1", "time": AT}
    added = ranker.add_events(
        [{"id": "1", "article": "N5", **event}, {"id": "2", "article": "N999", **event}], now=AT
    )
    assert (added.counted, [each.id for each in added.refused]) == (1, ["2"])
