from __future__ import annotations

import math
import warnings
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.interaction import Interaction
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import Collector
from sklearn.metrics import roc_auc_score

from recbole_tinynews.evaluation.metrics import (
    NaNScoreError,
    ScoredImpressions,
    accuracy,
    auc,
    average_precision,
    candidate_ranks,
    gauc,
    hit,
    mrr,
    ndcg,
    precision,
    rank_impressions,
    recall,
)
from recbole_tinynews.recbole_models import patches

EXACT = {"rtol": 0, "atol": 1e-12}
CUTOFFS = (1, 2, 5, 10, 1000)
AT_K = {"ndcg": ndcg, "hit": hit, "recall": recall, "precision": precision}
AT_K["map"] = average_precision


# The definitions, one impression at a time, without numpy.


def slow_order(scores) -> list[int]:
    """Score descending, ties in favour of the later candidate."""
    return sorted(range(len(scores)), key=lambda c: (scores[c], c), reverse=True)


def slow_auc(scores, labels) -> float:
    wins = [
        1.0 if clicked > other else 0.5 if clicked == other else 0.0
        for clicked, label in zip(scores, labels, strict=True)
        if label == 1
        for other, other_label in zip(scores, labels, strict=True)
        if other_label == 0
    ]
    return sum(wins) / len(wins)


def slow_dcg(y, k) -> float:
    return sum((2**label - 1) / math.log2(rank + 1) for rank, label in enumerate(y[:k], start=1))


def slow_metrics(scores, labels) -> dict[str, float]:
    """Every metric, those at k for all ``CUTOFFS``."""
    y = [int(labels[c]) for c in slow_order(scores)]
    values = {
        "auc": slow_auc(scores, labels),
        "mrr": sum(label / rank for rank, label in enumerate(y, start=1)) / sum(y),
        "accuracy": float(y[0]),
    }
    for k in CUTOFFS:
        first = y[:k]
        precisions = [sum(first[: i + 1]) / (i + 1) for i in range(len(first)) if first[i]]
        values |= {
            f"ndcg@{k}": slow_dcg(y, k) / slow_dcg(sorted(y, reverse=True), k),
            f"hit@{k}": float(any(first)),
            f"recall@{k}": sum(first) / sum(y),
            f"precision@{k}": sum(first) / k,
            f"map@{k}": sum(precisions) / min(sum(y), k),
        }
    return values


def all_metrics(impressions) -> dict[str, np.ndarray]:
    """Values by name, ``[evaluated impressions]``."""
    ranked = rank_impressions(*impressions)
    values = {"auc": auc(ranked), "mrr": mrr(ranked), "accuracy": accuracy(ranked)}
    return values | {
        f"{name}@{k}": metric(ranked, k) for name, metric in AT_K.items() for k in CUTOFFS
    }


def both_classes(impressions) -> list:
    return [(s, y) for s, y in impressions.split() if 0 < y.sum() < len(y)]


def assert_as_defined(impressions) -> None:
    expected = [slow_metrics(s.tolist(), y.tolist()) for s, y in both_classes(impressions)]
    for name, values in all_metrics(impressions).items():
        np.testing.assert_allclose(values, [each[name] for each in expected], **EXACT)


# Against independent references


def test_auc_agrees_with_scikit_learn(many_impressions) -> None:
    """A result that can't be compared with other papers is worth nothing."""
    found = auc(rank_impressions(*many_impressions))
    expected = [
        roc_auc_score(labels, scores)  # slow; the plain definitions below are compared on all
        for scores, labels in islice(both_classes(many_impressions), 150)
    ]
    np.testing.assert_allclose(found[:150], expected, **EXACT)


def test_all_metrics_agree_with_their_definitions_on_thousands_of_impressions(
    many_impressions,
) -> None:
    """Code that is wrong for one size, tie, cut-off or -0.0 moves every average a little."""
    assert_as_defined(many_impressions)


def recboles(scores: np.ndarray, labels: np.ndarray, *metrics: str) -> dict[str, float]:
    """What RecBole itself says of users (rows) who all have the same number of items."""
    patches.apply_to_libraries()  # RecBole's metrics use numpy's old names
    config = {
        "metrics": list(metrics),
        "topk": [1, 3, 5],
        "metric_decimal_place": 12,
        "eval_args": {"mode": "full"},
        "device": torch.device("cpu"),
    }
    padded = np.column_stack([scores, np.full(len(scores), -np.inf)])  # as its full ranking has
    collector = Collector(config)
    users, items = map(torch.from_numpy, np.nonzero(labels))
    collector.eval_batch_collect(torch.from_numpy(padded), Interaction({}), users, items)
    return dict(Evaluator(config).evaluate(collector.get_data_struct()))


def test_they_are_recboles_own_where_all_impressions_have_one_size(ragged) -> None:
    """Another divisor under the same name would make a table wrong beside published ones."""
    rng = np.random.default_rng(7)
    scores = rng.normal(size=(50, 12))
    labels = (rng.random((50, 12)) < 0.3).astype(int)
    labels[:, 0], labels[:, 1] = 1, 0  # RecBole keeps users without a click, we skip them
    expected = recboles(scores, labels, "Recall", "Hit", "Precision", "MAP")
    ranked = rank_impressions(*ragged.of(*zip(scores, labels, strict=True)))
    names = ("hit", "recall", "precision", "map")
    found = {f"{name}@{k}": AT_K[name](ranked, k).mean() for k in (1, 3, 5) for name in names}
    assert found == {name: pytest.approx(value, abs=1e-10) for name, value in expected.items()}


def test_impressions_beyond_one_block_of_the_sort_are_ranked(ragged) -> None:
    """An error between blocks would affect large data sets only, which no other test has."""
    rng = np.random.default_rng(5)
    sizes = rng.integers(0, 4, 40_000)
    scores, offsets = rng.integers(0, 3, sizes.sum()), np.append(0, np.cumsum(sizes))
    order = np.lexsort((scores, np.repeat(np.arange(len(sizes)), sizes)))
    expected = np.empty(len(scores), int)
    expected[order] = np.repeat(offsets[1:], sizes) - np.arange(len(scores))
    np.testing.assert_array_equal(candidate_ranks(scores, offsets), expected)


# Ties, infinities, precision


def test_infinite_scores_are_ranked_and_tied_like_numbers() -> None:
    """Since inf - inf is NaN, arithmetic on scores would lose the masked candidates of a model."""
    inf = float("inf")
    ranked = rank_impressions([inf, inf, 0, -inf, -inf], [1, 0, 0, 1, 0], [0, 5])
    assert candidate_ranks([inf, inf, 0, -inf, -inf], [0, 5]).tolist() == [2, 1, 3, 5, 4]
    assert auc(ranked).tolist() == [(2.5 + 0.5) / 6]
    np.testing.assert_allclose(mrr(ranked), [(1 / 2 + 1 / 5) / 2], **EXACT)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_neighbouring_floats_are_no_tie(dtype) -> None:
    """Rounding scores on the way makes ties, and with them another AUC."""
    score = dtype(0.1)
    scores = np.array([score, np.nextafter(score, dtype(1)), score], dtype)
    assert auc(rank_impressions(scores, [0, 1, 0], [0, 3])).tolist() == [1.0]
    assert auc(rank_impressions(scores, [1, 0, 0], [0, 3])).tolist() == [0.25]


# What is skipped


def test_single_class_unlabelled_and_empty_impressions_are_skipped_and_counted(ragged) -> None:
    """Averaged as 0 (or NaN) they would bias every result; left out silently, nobody would know."""
    impressions = ragged.of(
        ([1, 2], [1, 1]),
        ([], []),
        ([1, 2, 3], [0, 1, 0]),
        ([5], [1]),
        ([1, 2], [0, 0]),
        ([2, 1], [1, 0]),
        ([1, 2, 3], [-1, -1, -1]),
        ([], []),
    )
    ranked = rank_impressions(*impressions)
    assert np.flatnonzero(ranked.evaluated).tolist() == [2, 5]
    assert ranked.skipped == 6
    assert ranked.clicked.tolist() == [1, 1]
    assert ranked.unclicked.tolist() == [2, 1]
    assert auc(ranked).tolist() == [0.5, 1.0]
    assert mrr(ranked).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("labels", [[], [0, 0], [-1, -1]])
def test_nothing_to_evaluate_gives_no_values_and_no_warning(labels) -> None:
    """An unlabelled test set must pass through to its prediction file."""
    offsets = [0, len(labels)] if labels else [0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = all_metrics((np.zeros(len(labels)), np.array(labels), offsets))
    assert all(of_metric.shape == (0,) for of_metric in values.values())


# What is refused


@pytest.mark.parametrize("label", [0, -1])
def test_a_nan_score_is_refused_even_in_a_skipped_impression(label) -> None:
    """NaN sorts to the top: a broken model would look like a strange one."""
    scores = [0.5, 0.1, 0.2, float("nan"), 0.3]
    with pytest.raises(
        NaNScoreError, match=r"candidate 1 of the impression at position 1 "
    ) as info:
        rank_impressions(scores, [1, 0, label, label, label], [0, 2, 5])
    assert info.value.impression == 1
    with pytest.raises(NaNScoreError, match="in 1 impressions"):
        candidate_ranks(scores, [0, 2, 5])


def test_a_nan_behind_an_empty_impression_is_blamed_on_its_own() -> None:
    """The empty one starts at the same candidate; naming its id would mislead the user."""
    with pytest.raises(NaNScoreError) as info:
        candidate_ranks([1.0, float("nan")], [0, 1, 1, 2, 2])
    assert info.value.impression == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 0, 1, 2], r"got \[1, 2\] in the impression at position 1"),
        ([1, 0, -1, 0], r"got \[-1, 0\] in the impression at position 1"),
        ([1, 0, float("nan"), 0], "position 1"),
        ([0.5, 0, 1, 0], r"got \[0.0, 0.5\] in the impression at position 0"),
        ([1, 0, 1], r"one label for each of 4 scores, got labels of shape \(3,\)"),
    ],
)
def test_labels_that_mean_nothing_are_refused(labels, message) -> None:
    """A rating of 2 or a half-labelled impression would count as unclicked."""
    with pytest.raises(ValueError, match=message):
        rank_impressions([0.1, 0.2, 0.3, 0.4], labels, [0, 2, 4])


@pytest.mark.parametrize(
    "offsets", [[], [0, 3], [1, 4], [0, 5], [0, 3, 2, 4], [0.0, 4.0], [[0, 4]]]
)
def test_offsets_that_do_not_fit_the_scores_are_refused(offsets) -> None:
    """Candidates would be dropped, or counted in two impressions."""
    with pytest.raises(ValueError, match="expects offsets"):
        rank_impressions([0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0], offsets)


def test_padded_scores_are_refused() -> None:
    """A [batch, candidates] matrix would be flattened into impressions that don't exist."""
    with pytest.raises(ValueError, match=r"flat real numbers.*\(2, 2\)"):
        candidate_ranks(np.zeros((2, 2)), [0, 4])


@pytest.mark.parametrize("metric", AT_K.values())
def test_a_cut_off_below_one_is_refused(metric) -> None:
    """nDCG@0 is 0 / 0; of others everything would be 0, or NaN, without a word."""
    with pytest.raises(ValueError, match="at least 1, got 0"):
        metric(rank_impressions([1, 2], [0, 1], [0, 2]), 0)


# Properties

scores_of_one = st.lists(
    st.integers(-3, 3) | st.floats(-1e3, 1e3, width=32), min_size=1, max_size=9
)
one_impression = scores_of_one.flatmap(
    lambda s: st.tuples(st.just(s), st.lists(st.integers(0, 1), min_size=len(s), max_size=len(s)))
)
any_impressions = st.lists(one_impression, min_size=1, max_size=8)


@settings(deadline=None)
@given(any_impressions)
def test_scores_count_by_their_order_alone(ragged, impressions) -> None:
    """Logits, probabilities and their logarithms must give one result."""
    plain = ragged.of(*impressions)
    _, dense = np.unique(plain.scores, return_inverse=True)
    for transformed in (dense, 1 / (1 + np.exp(-0.1 * dense)), dense * 1e-30 - 5e-29, dense**3):
        expected = all_metrics(plain)
        for name, values in all_metrics(plain._replace(scores=transformed)).items():
            np.testing.assert_array_equal(values, expected[name])


@settings(deadline=None)
@given(any_impressions)
def test_any_small_impressions_agree_with_the_definitions(ragged, impressions) -> None:
    """Hypothesis finds sizes, ties and classes that the random thousands may miss."""
    assert_as_defined(ragged.of(*impressions))


# Scored impressions, as functions of users get them


@pytest.fixture
def scored(many_impressions) -> ScoredImpressions:
    """Impressions of 60 users, some of them unlabelled."""
    scores, labels, offsets = many_impressions
    users = np.random.default_rng(3).integers(60, size=len(offsets) - 1)
    labels = labels.copy()
    for impression in range(0, len(users), 50):
        labels[offsets[impression] : offsets[impression + 1]] = -1
    return ScoredImpressions(scores, labels, offsets, users)


def test_gauc_is_scikit_learns_auc_of_each_user_weighted_by_clicks(scored) -> None:
    """Impressions mixed up by the sort, or unlabelled ones taken for unclicked, would show."""
    user_of = np.repeat(scored.users, np.diff(scored.offsets))
    total = weights = 0.0
    for user in np.unique(scored.users):
        own = (user_of == user) & (scored.labels >= 0)
        clicks = int(scored.labels[own].sum())
        if 0 < clicks < own.sum():
            total += clicks * roc_auc_score(scored.labels[own], scored.scores[own])
            weights += clicks
    assert gauc(scored) == pytest.approx(total / weights, abs=1e-12)


def test_gauc_is_recboles_own_where_each_user_has_one_list_of_one_size() -> None:
    """Under RecBole's name nobody expects another number."""
    rng = np.random.default_rng(9)
    scores = rng.normal(size=(40, 10)).round(1)  # with ties
    labels = (rng.random((40, 10)) < 0.4).astype(int)
    labels[0], labels[1] = 0, 1  # both leave these users out
    scored = ScoredImpressions(scores.ravel(), labels.ravel(), np.arange(0, 401, 10), np.arange(40))
    assert gauc(scored) == pytest.approx(recboles(scores, labels, "GAUC")["gauc"], abs=1e-6)


def test_a_user_with_one_impression_has_its_auc_and_nobody_has_nan() -> None:
    """The mean over no user would be a warning and a 0, or an error after hours."""
    one = ScoredImpressions(
        np.array([1.0, 3, 2]), np.array([0, 0, 1]), np.array([0, 3]), np.array([4])
    )
    assert gauc(one) == 0.5
    assert math.isnan(gauc(replace(one, labels=np.array([-1, -1, -1]))))
    assert math.isnan(gauc(one.only(np.array([False]))))


def test_a_part_is_what_its_impressions_are_alone(scored) -> None:
    """A candidate too many at a border would belong to the next impression."""
    kept = np.random.default_rng(1).random(len(scored.users)) < 0.4
    part = scored.only(kept)
    assert len(part.users) == kept.sum()
    for place, row in enumerate(np.flatnonzero(kept)):
        there = slice(scored.offsets[row], scored.offsets[row + 1])
        here = slice(part.offsets[place], part.offsets[place + 1])
        assert np.array_equal(part.scores[here], scored.scores[there])
        assert np.array_equal(part.labels[here], scored.labels[there])
        assert part.users[place] == scored.users[row]


def test_sums_and_spreads_are_those_of_each_impression() -> None:
    """``reduceat`` gives an empty impression the first value of the next one."""
    scored = ScoredImpressions(
        np.array([3.0, 1, 2, 5]), np.ones(4, int), np.array([0, 3, 3, 4]), np.arange(3)
    )
    assert scored.sum([1, 1, 1, 1]).tolist() == [3, 0, 1]
    assert scored.spread([7, 8, 9]).tolist() == [7, 7, 7, 9]
    assert scored.ranks.tolist() == [1, 3, 2, 1]
