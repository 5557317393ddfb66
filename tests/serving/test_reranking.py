"""Re-ranking in use: as over a test set, and by what articles were given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from served import Served, words_of

from recbole_tinynews.evaluation.beyond_accuracy import rank_articles
from recbole_tinynews.evaluation.rerank import ReRanking, rerank_impressions, unit_vectors
from recbole_tinynews.serving import ranker as ranking
from recbole_tinynews.serving.ranker import Query, Ranker

IDS = [f"N{number}" for number in range(1, 13)]
LISTS: list[list[Any]] = [
    [{"mmr": 0.6}],
    [{"at_most": {"category": 1, "top": 3}}, "already_read"],
    [{"excluded": ["N3", "N9"]}, {"mmr": 0.3}, {"at_most": {"subcategory": 1}}, {"pinned": ["N7"]}],
]


def with_articles(student: Served) -> Ranker:
    ranker = student.load()
    ranker.add_news(dict(zip(IDS, words_of(IDS), strict=True)))
    return ranker


@pytest.mark.parametrize("rerank", LISTS, ids=str)
def test_a_list_orders_candidates_as_it_does_over_a_test_set(student: Served, rerank: Any) -> None:
    """Otherwise its table tells nothing about what readers get."""
    histories, candidates, scores = student.impressions()
    ranked = student.load_with_news().rank(histories, candidates, rerank=rerank)
    test = student.run.factory.test
    stage = next(s for s, made in student.run.artifacts.items() if made == student.artifact)
    model, shown = student.run.model(stage).eval(), test.inter_feat
    with torch.no_grad():
        vectors = unit_vectors(model.news_encoder(torch.arange(test.item_num)).numpy())
    plain = rank_articles(np.concatenate(scores), shown.candidates, shown.history, test.facts)
    names = test.field2id_token[test.iid_field]
    articles = {"ids": names, "vectors": vectors, **test.groups()}
    about = np.concatenate(scores), shown.candidates, plain, articles
    *_, (own, left) = rerank_impressions(ReRanking.parse(rerank), *about)
    moved = 0
    for row, live in enumerate(ranked):
        assert [each.candidate for each in live] == names[left.ranked.row(row)].tolist()
        whole = np.argsort(-own[slice(*shown.candidates.offsets[[row, row + 1]])])
        assert [each.place for each in live] == whole[: len(live)].tolist()
        rest = scores[row][whole[len(live) :]]
        assert rest.tolist() == sorted(rest, reverse=True), "removed ones keep their order, behind"
        moved += [each.place for each in live] != np.argsort(-scores[row]).tolist()
    assert moved


def test_groups_are_those_of_the_articles_as_they_were_given(student: Served) -> None:
    """Of a table, a replaced article, a text: an old or a missing group would count wrongly."""
    import pandas as pd

    ranker, limit = student.load(), [{"at_most": {"category": 1}}]
    with pytest.raises(ValueError, match="at_most expects the category of articles, and none is"):
        ranker.rank([], ["word1 word2", "word3"], rerank=limit)
    ids = ["a", "b", "c"]
    table = pd.DataFrame({"id": ids, "title": words_of(["N4", "N5", "N6"])})
    ranker.add_news(table.assign(category=["sport", "sport", None]))
    best, *_ = (each.candidate for each in ranker.rank([], ["a", "b"]))
    other = "b" if best == "a" else "a"
    assert ranker.rank([], ids, rerank=limit)[-1].candidate == other
    ranker.add_news({other: {"title": "word1 word9", "category": "world", "source": "one"}})
    ranked = [each.candidate for each in ranker.rank([], ids)]
    assert [each.candidate for each in ranker.rank([], ids, rerank=limit)] == ranked
    given = {"id": "new", "title": "word2 word3", "category": "sport"}
    names = [each.candidate for each in ranker.rank([], [best, "c", given], rerank=limit)]
    assert {names[-1]} < {best, "new"}
    texts = words_of([f"N{number}" for number in range(1, 8)])
    plain = ranker.rank([], [{"title": text} for text in texts])
    first, second, *_, last = (texts[each.place] for each in plain)
    among = [
        {"id": best, "title": first},
        {**given, "title": second},
        {"id": "another", "title": last},
    ]
    assert [each.place for each in ranker.rank([], among, rerank=limit)] == [0, 2, 1]
    ranker.forget(ids)
    with pytest.raises(ValueError, match="at_most"):
        ranker.rank([], ["word1 word2"], rerank=limit)


def test_top_is_reranked_like_a_request_for_the_same_articles(
    student: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Diversity of the first page; an article that an editor pins may be the last by score."""
    ranker = with_articles(student)
    plain = [each.candidate for each in ranker.top([], k=len(IDS))]
    last, second = plain[-1], plain[1]
    rerank: list[Any] = [{"mmr": 0.3}, {"excluded": [second]}, {"pinned": [last, "elsewhere"]}]
    expected = [each.candidate for each in ranker.rank([], IDS, rerank=rerank)]
    top = ranker.top([], k=4, rerank=rerank)
    assert [each.candidate for each in top] == expected[:4]
    assert [IDS[each.place] for each in top] == expected[:4]
    assert expected[0] == last
    assert expected != [last, *(each for each in plain[:-1] if each != second)]
    monkeypatch.setattr(ranking, "LEAST_POOL", 1)
    monkeypatch.setattr(ranking, "POOL", 2)
    lists = [
        ReRanking.parse(each) for each in ([{"mmr": 0.3}, {"pinned": [last]}], [], rerank[1:2])
    ]
    queries = [Query([], [], None, each, k) for each, k in zip(lists, [3, 1, 3], strict=True)]
    one, two, three = ranker.answer(queries)
    pool = [*plain[:6], last]
    expected = [each.candidate for each in ranker.rank([], pool, rerank=rerank[:1])]
    expected = [last, *(each for each in expected if each != last)]
    assert [each.candidate for each in one] == expected[:3]
    assert [each.candidate for each in two] == plain[:1]
    assert [each.candidate for each in three] == [each for each in plain if each != second][:3]


def test_one_readers_pin_does_not_list_all_articles_for_the_others(
    student: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service ranks for strangers together: whoever pins would slow all of them."""
    ranker = with_articles(student)
    monkeypatch.setattr(ranking, "LEAST_POOL", 1)
    monkeypatch.setattr(ranking, "POOL", 1)
    asked, plain = [], ranking.best_rows
    monkeypatch.setattr(
        ranking, "best_rows", lambda scores, k, out: asked.append(k) or plain(scores, k, out)
    )
    lists = [ReRanking.parse(each) for each in ([], [{"pinned": [IDS[-1]]}], [])]
    clicks = [["N1"], ["N2"], []]
    queries = [Query(c, [], None, each, 2) for c, each in zip(clicks, lists, strict=True)]
    answers = [[article.candidate for article in best] for best in ranker.answer(queries)]
    assert asked == [2]
    assert answers[1][0] == IDS[-1]


def test_what_is_removed_is_made_up_for(student: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page with ten places would show five articles."""
    ranker = with_articles(student)
    monkeypatch.setattr(ranking, "LEAST_POOL", 1)
    monkeypatch.setattr(ranking, "POOL", 1)
    plain = [each.candidate for each in ranker.top([], k=len(IDS))]
    top = ranker.top([], k=3, rerank=[{"excluded": plain[:4]}])
    assert [each.candidate for each in top] == plain[4:7]
