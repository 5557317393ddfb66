"""Re-rankers against their definitions, and ``--rerank`` in a run."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import DATASET, Tiny

from recbole_tinynews.__main__ import run_recbole as main
from recbole_tinynews.evaluation.rerank import Candidates, ReRanking
from recbole_tinynews.pipeline.quick_start import run

NUMBERS = st.integers(-2, 2)


@st.composite
def some_candidates(draw: st.DrawFn) -> Candidates:
    """Up to nine candidates with ties, equal and zero vectors, and unknown groups."""
    size, dim = draw(st.integers(0, 9)), draw(st.integers(1, 3))

    def listed(values: st.SearchStrategy, length: int = size) -> list:
        return draw(st.lists(values, min_size=length, max_size=length))

    return Candidates(
        [f"N{number}" for number in range(size)],
        np.array(listed(st.sampled_from([-np.inf, -1.0, 0.5, 0.75, 2.0])), np.float32),
        {"N1", "N4", "elsewhere"},
        {
            "vectors": np.array(listed(NUMBERS, size * dim), np.float32).reshape(size, dim),
            "category": listed(st.sampled_from(["", "sport", "world"])),
            "source": listed(st.sampled_from(["", "one"])),
        },
    )


def reranked(value: Any, of: Candidates) -> tuple[list[int], list[int]]:
    before = np.argsort(-of.scores, kind="stable").tolist()
    (after,) = ReRanking.parse([value]).orders(before, of)
    return before, after


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0


@given(some_candidates(), st.sampled_from([0, 0.3, 0.7, 1]))
@settings(max_examples=60, deadline=None)
def test_mmr_takes_the_best_by_its_definition_at_each_step(of: Candidates, weight: float) -> None:
    """A running maximum of the wrong row, or of the last article alone, also looks diverse."""
    before, after = reranked({"mmr": weight}, of)
    assert sorted(before) == sorted(after)
    finite = np.nan_to_num(of.scores).astype(float)
    span = (finite.max() - finite.min() if len(finite) else 0) or 1

    def worth(place: int, taken: list[int]) -> float:
        vectors = of.columns["vectors"]
        nearest = max((cosine(vectors[place], vectors[each]) for each in taken), default=0)
        return weight * (finite[place] - finite.min()) / span - (1 - weight) * nearest

    for step, place in enumerate(after):
        rest = [each for each in before if each not in after[:step]]
        worths = {each: worth(each, after[:step]) for each in rest}
        assert worths[place] >= max(worths.values()) - 1e-6
    if weight == 1:
        assert after == before


def test_mmr_keeps_the_order_of_equal_candidates_and_alternates_between_topics() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    of = Candidates(["a", "b", "c", "d"], np.array([4.0, 3.9, 3.8, 3.7]), {}, {"vectors": vectors})
    assert reranked({"mmr": 0.5}, of)[1] == [0, 2, 1, 3]
    equal = of._replace(scores=np.zeros(4), columns={"vectors": np.ones((4, 2), np.float32)})
    assert reranked({"mmr": 0.5}, equal)[1] == [0, 1, 2, 3]


@given(some_candidates(), st.integers(1, 2), st.sampled_from([None, 1, 3]))
@settings(max_examples=60, deadline=None)
def test_at_most_moves_only_what_is_over_a_limit(of: Candidates, most: int, top: Any) -> None:
    """One counter for two columns, or a count of unknown groups, would demote others too."""
    limits = {"category": most, "source": 1}
    before, after = reranked({"at_most": {**limits, **({"top": top} if top else {})}}, of)
    assert sorted(before) == sorted(after)
    groups = {
        place: [(c, of.columns[c][place]) for c in limits if of.columns[c][place]]
        for place in before
    }
    taken: list[int] = []
    for place in before:  # the definition, one candidate after the other
        counts = Counter(group for each in taken for group in groups[each])
        fits = all(counts[group] < limits[group[0]] for group in groups[place])
        taken += [place] if fits and (top is None or len(taken) < top) else []
    assert after == taken + [place for place in before if place not in taken]


@given(some_candidates())
@settings(max_examples=50, deadline=None)
def test_editors_and_readers_decide_over_scores(of: Candidates) -> None:
    before, unread = reranked("already_read", of)
    assert unread == [place for place in before if place not in (1, 4)]
    chosen = {"pinned": ["N2", "elsewhere", "N0"]}, {"excluded": ["N0", "elsewhere"]}
    pinned, kept = (reranked(each, of)[1] for each in chosen)
    first = [place for place in (2, 0) if place in before]
    assert pinned == first + [place for place in before if place not in first]
    assert kept == [place for place in before if place != 0]


def test_later_ones_start_from_the_order_and_the_candidates_that_are_left() -> None:
    of = Candidates(["a", "b", "c"], np.array([3.0, 2.0, 1.0]), {"a"}, {})
    rerank = ["already_read", {"pinned": ["a", "c"]}]
    assert [*ReRanking.parse(rerank).orders([0, 1, 2], of)] == [[1, 2], [2, 1]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("already_read", "expects a list such as"),
        ([{"mrr": 0.7}], "expects values as in .*mmr.* got {'mrr': 0.7}"),
        ([{"mmr": 0.7, "already_read": None}], "expects values as in"),
        ([{"mmr": 7}], "mmr expects a number from 0 to 1, got 7"),
        (["mmr"], "mmr expects a number from 0 to 1, got None"),
        ([{"mmr": float("nan")}], "mmr expects"),
        ([{"at_most": {"top": 10}}], "at_most expects ints >= 1 by category"),
        ([{"at_most": {"publisher": 1}}], "category, subcategory, source"),
        ([{"at_most": {"category": 0}}], "at_most expects"),
        ([{"at_most": 2}], "at_most expects"),
        ([{"already_read": 3}], "already_read expects"),
        ([{"pinned": ["N1", 2]}], "pinned expects a list of text"),
        ([{"excluded": "N1"}], "excluded expects a list of text"),
        ([{"pinned": ["N1"]}, {"mmr": 0.5}], "mmr once, before at_most and pinned"),
        ([None], "expects values as in"),
    ],
)
def test_a_wrong_list_is_refused_by_name(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"rerank.*{message}"):
        ReRanking.parse(wrong)


def test_a_run_says_what_each_re_ranker_changes(tiny: Tiny) -> None:
    """The plain row has to be the run's own result, or the others are compared with nothing."""
    given = tiny.settings("ZeroShotPLM", topk=[2, 5])
    before = run("ZeroShotPLM", DATASET, config_dict=given)
    assert "test_reranked" not in before
    *_, shown, _ = (tiny.data / DATASET / f"{DATASET}.test.inter").read_text().split("\t")
    gone = shown.split()[0]
    rerank = f"[{{mmr: 0.5}}, {{at_most: {{category: 1, top: 3}}}}, {{excluded: [{gone}]}}]"
    after = run("ZeroShotPLM", DATASET, config_dict=given, command_line=[f"--rerank={rerank}"])
    plain, *others = after.pop("test_reranked")
    assert all(stage["reused"] for stage in after["stages"])
    assert before["test"] == after["test"]
    assert plain.items() >= {(name, after["test"][name]) for name in ("auc", "mrr", "ndcg@5")}
    assert [next(iter(each["rerank"])) for each in others[:2]] == ["mmr", "at_most"]
    assert others[0]["distance@2"] > plain["distance@2"]
    assert others[1]["calibration@2"] != others[0]["calibration@2"]
    assert others[2]["catalogue@5"] < others[1]["catalogue@5"], "removed articles are not counted"
    assert {"mrr", "ndcg@5", "catalogue@2"} < plain.keys()
    json.dumps(after)


@pytest.mark.parametrize(
    ("model", "rerank", "message"),
    [
        ("CategoryMatch", "[{mmr: 0.5}]", "expects vectors of articles, and CategoryMatch on"),
        ("BPR", "[{mmr: 0.5}]", "expects vectors of articles, and BPR on 'tiny' has category, sub"),
        ("ZeroShotPLM", "[{at_most: {source: 1}}]", "expects source of articles"),
        ("ZeroShotPLM", "mmr", "rerank (command line) expects a list of already_read or {name: va"),
        ("ZeroShotPLM", "[mrr]", "rerank expects values as in [{mmr: 0.7}"),
    ],
)
def test_what_cannot_be_re_ranked_is_refused_before_the_training(
    tiny: Tiny, tmp_path, capsys, model: str, rerank: str, message: str
) -> None:
    given = tiny.stock_settings() if model == "BPR" else tiny.settings(model)
    flags = [f"--{name}={value}" for name, value in given.items()]
    with pytest.raises(SystemExit):
        main([f"--model={model}", f"--dataset={DATASET}", *flags, f"--rerank={rerank}"])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob(f"saved/{DATASET}/{model}-*"))
