from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from served import Served, words_of
from tiny import Tiny, titles

from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.serving.article_index import ArticleIndex
from recbole_tinynews.serving.engine import ModelEngine, category_ids, engine_of
from recbole_tinynews.serving.ranker import Ranker

NEWS = [f"N{number}" for number in range(1, 31)]
CLICKS = ["N3", "N7", "N12"]


@pytest.fixture
def ranker(student: Served) -> Ranker:
    """A student that knows thirty articles of its data set."""
    ranker = student.load()
    ranker.add_news(dict(zip(NEWS, words_of(NEWS), strict=True)))
    return ranker


class Watched(ArticleIndex):
    """Notes the ids of every snapshot that another thread may see."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "snapshot":
            vars(self).setdefault("seen", []).append(value.ids)
        super().__setattr__(name, value)


def test_an_article_that_is_replaced_is_never_missing() -> None:
    """A request that came in between was told that there is no article with its id."""
    vector = torch.ones(3)
    engine = SimpleNamespace(encode=lambda some: vector.expand(len(some["title"]), 3))
    engine.reads = ["title"]
    index = Watched(engine)
    index.add({"a": {"title": "one"}, "b": {"title": "two"}})
    vector = torch.zeros(3)
    index.add({"a": {"title": "three"}})
    assert index.seen == [(), ("a", "b"), ("b", "a")]
    assert [article.fields for article in index.snapshot.articles] == [("two",), ("three",)]
    assert index.snapshot.vectors.tolist() == [[1.0] * 3, [0.0] * 3]
    vector = torch.full((3,), 2.0)
    index.add({"c": {"title": "four"}, "a": {"title": "three"}})  # which is as it was
    assert index.snapshot.vectors.tolist() == [[1.0] * 3, [2.0] * 3, [0.0] * 3]


def test_categories_have_the_same_numbers_in_every_process() -> None:
    """A ranker that is sent to a worker compares articles of here with articles of there."""
    ids = category_ids([("news", "", "A"), ("n\udc80", "news", "")], torch.device("cpu"))
    assert ids.tolist() == [[500406609, 0], [1624003526, 500406609]]


def test_numbers_of_a_table_are_names_of_categories_and_gaps_are_none(ranker: Ranker) -> None:
    """Categories of a parquet file are often numbers, and all articles would have had none."""
    ranker.add_news(pd.DataFrame({"id": ["A", "B", "C"], "title": "x", "category": [1, "1", None]}))
    one, other, none = ranker.index.snapshot.categories[-3:, 0].tolist()
    assert one == other != none == 0


@pytest.mark.parametrize(
    ("news", "error", "message"),
    [
        (pd.DataFrame({"id": ["A1", "A1"], "title": "one"}), ValueError, "got 'A1' twice"),
        ({"": "one"}, ValueError, "not empty, got ''"),
        ({"A1": None}, TypeError, "got None as title of article 0"),
        ({1: "one"}, TypeError, "got 1 as id"),
        (["A1"], TypeError, r"a table, or ids to titles or fields, got \['A1'\]"),
        (pd.DataFrame({"id": ["A1"]}), ValueError, "columns id or item_id or news_id, and title"),
    ],
)
def test_articles_that_cannot_be_added_are_named(ranker: Ranker, news, error, message) -> None:
    with pytest.raises(error, match=message):
        ranker.add_news(news)
    assert len(ranker.news_ids) == 30


def test_the_best_of_all_articles_are_those_that_rank_first(ranker: Ranker) -> None:
    others = [each for each in NEWS if each not in CLICKS]
    for history in (CLICKS, []):
        shown = others if history else NEWS
        expected = ranker.rank(history, shown)
        best = ranker.top(history, 5)
        assert [each.candidate for each in best] == [each.candidate for each in expected[:5]]
        np.testing.assert_allclose(
            [each.score for each in best], [each.score for each in expected[:5]], atol=1e-5
        )
        assert [NEWS[each.place] for each in best] == [each.candidate for each in best]
    assert {each.candidate for each in ranker.top(CLICKS, 100, leave_out_clicked=False)} == {*NEWS}
    assert {each.candidate for each in ranker.top(CLICKS, 100)} == {*others}
    for by_text in (
        [{"title": title} for title in words_of(CLICKS)],
        [{"id": each, "title": "another title"} for each in CLICKS],
    ):
        assert {each.candidate for each in ranker.top(by_text, 100)} == {*others}
    assert len(ranker.top([{"title": "N3"}], 100)) == 30  # a title that looks like an id


def test_articles_with_equal_scores_keep_their_order(ranker: Ranker) -> None:
    ranker.add_news({f"same{number}": "word9 word8" for number in range(40)})
    best = [each for each in ranker.top(CLICKS, 60) if each.candidate.startswith("same")]
    # BLAS may round an article's product by its row, so not all of them are equal everywhere
    assert best == sorted(best, key=lambda each: (-each.score, each.place))
    assert len(best) - len({each.score for each in best}) > 20


def test_forgotten_articles_are_not_recommended(ranker: Ranker) -> None:
    first, second = ranker.top(CLICKS, 2)
    ranker.forget([first.candidate])
    assert ranker.top(CLICKS, 1)[0].candidate == second.candidate
    with pytest.raises(ValueError, match=f"got '{first.candidate}' and 1 more"):
        ranker.forget([first.candidate, "no such", "N1"])
    assert "N1" in ranker.news_ids


def test_a_best_score_that_is_not_a_number_is_refused(ranker: Ranker) -> None:
    """No NaN is the highest, so the articles would be missing without a word."""
    torch.nn.init.constant_(ranker.engine.model.user_encoder.pad_doc, float("nan"))
    assert ranker.top(CLICKS, 2)
    with pytest.raises(ValueError, match="scores 'N1' with NaN"):
        ranker.top([], 2)
    unread = ranker.top(CLICKS, 2)[1].candidate
    ranker.index.snapshot.vectors[ranker.news_ids.index(unread)] = float("nan")
    with pytest.raises(ValueError, match=f"scores '{unread}' with NaN"):
        ranker.top([CLICKS, CLICKS[:1]], 2)


def test_what_cannot_be_chosen_from_is_refused(student: Served, ranker: Ranker) -> None:
    with pytest.raises(ValueError, match="articles to choose from, got none"):
        student.load().top([], 3)
    with pytest.raises(ValueError, match="k of at least 1, got 0"):
        ranker.top([], 0)
    with pytest.raises(ValueError, match="got 'N999'"):
        ranker.top(["N999"])


def test_a_recommender_with_a_score_of_its_own_chooses_by_it(tiny: Tiny) -> None:
    """The dot product of its vectors would be another model's score."""

    class Negative(PLMNR):
        def predict(self, interaction):
            return -super().predict(interaction)

    world, best = tiny.world(max_steps=1), []
    for kind in (PLMNR, Negative):
        world.model.__class__ = kind
        ranker = Ranker(engine_of(world.model, world.config.final_config_dict, ""))
        ranker.add_news(dict(zip(NEWS, titles(), strict=False)))
        best.append([each.candidate for each in ranker.top(CLICKS, len(NEWS))])
    assert best[0] == best[1][::-1]


@pytest.mark.parametrize("padding", ["masked", "learned"])
@pytest.mark.parametrize("kind", ["attention", "self_attention"])
def test_users_who_share_clicks_have_the_vectors_of_the_plain_way(
    tiny: Tiny, padding: str, kind: str
) -> None:
    """What is computed once for an article must be what each user's clicks would give."""
    torch.manual_seed(5)
    model = tiny.world(user_encoder=kind, history_padding=padding).model
    for parameter in model.user_encoder.parameters():
        torch.nn.init.normal_(parameter)
    engine = ModelEngine(model, tiny.config().final_config_dict, "")
    vectors = torch.cat([torch.zeros(1, 16), torch.randn(7, 16)])
    histories = torch.tensor([[0, 0, 3, 7], [0, 1, 3, 3], [0, 0, 0, 0], [0, 0, 0, 5]])
    with torch.no_grad():
        expected = model.encode_user(vectors[histories], histories != 0)
    torch.testing.assert_close(engine.user_vectors(vectors, histories), expected)
    torch.testing.assert_close(engine.user_vectors(vectors, histories[3:]), expected[3:])
    torch.testing.assert_close(engine.user_vectors(vectors, histories[2:3]), expected[2:3])


def test_the_weights_of_clicks_are_those_that_pool_them(student: Served) -> None:
    ranker = student.load()
    history = [f"word{number} word{number + 1}" for number in range(9)]
    weights = ranker.click_weights(history)
    width = ranker.settings["history_length"]
    assert weights[: 9 - width] == [0.0] * (9 - width)
    assert sum(weights) == pytest.approx(1, abs=1e-6)
    vectors = torch.from_numpy(ranker.encode(history[-width:]))
    pooled = torch.tensor(weights[-width:]) @ vectors
    clicked = torch.ones(1, width, dtype=torch.bool)
    encoder = ranker.engine.model.user_encoder
    scale = 1 if encoder.scale is None else encoder.scale
    with torch.no_grad():
        torch.testing.assert_close(pooled * scale, encoder(vectors[None], clicked)[0])
    assert ranker.click_weights([]) == []
    with pytest.raises(TypeError, match="of one user, got those of several"):
        ranker.click_weights([["word1"], ["word2"]])


def test_articles_come_and_go_while_others_are_recommended(ranker: Ranker) -> None:
    """A service adds news while it answers; no answer may mix two states."""
    expected = ranker.top(CLICKS, 5)
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            ranker.add_news({"N2x": "word1 word9", "N3x": "word7"}, show_progress=False)
            ranker.forget(["N2x", "N3x"])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    worker = threading.Thread(target=change)
    worker.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: ranker.top(CLICKS, 7), range(100)))
    finally:
        stop.set()
        worker.join()
        sys.setswitchinterval(interval)
    for answer in answers:
        own = [each for each in answer if not each.candidate.endswith("x")][:5]
        assert [each.candidate for each in own] == [each.candidate for each in expected]


def test_a_table_of_users_is_ranked_as_each_user_is(ranker: Ranker) -> None:
    users = pd.DataFrame({"user_id": ["u1", "u2", "u3"], "history": [CLICKS, "N1 N2", None]})
    users["candidates"] = [["N4", "N5", "N6"], np.array(["N8"]), []]
    ranked = ranker.rank_table(users)
    assert ranked.columns.tolist() == ["user_id", "candidate", "score", "rank"]
    assert ranked.user_id.tolist() == ["u1", "u1", "u1", "u2"]
    assert ranked["rank"].tolist() == [1, 2, 3, 1]
    expected = ranker.rank(CLICKS, ["N4", "N5", "N6"])
    assert ranked.candidate.tolist()[:3] == [each.candidate for each in expected]
    best = ranker.rank_table(users.drop(columns="candidates"))
    assert best[best.user_id == "u3"].candidate.tolist() == [
        e.candidate for e in ranker.top([], 30)
    ]
    assert ranker.rank_table(users[:0]).empty
    assert ranker.rank_table(users[["user_id", "history"]][:0]).empty
