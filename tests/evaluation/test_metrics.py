from __future__ import annotations

import math
import warnings
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from recbole_tinynews.evaluation.metrics import (
    NaNScoreError,
    accuracy,
    auc,
    candidate_ranks,
    mrr,
    ndcg,
    rank_impressions,
)

EXACT = {"rtol": 0, "atol": 1e-12}


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


def slow_mrr(scores, labels) -> float:
    y = [labels[c] for c in slow_order(scores)]
    return sum(label / rank for rank, label in enumerate(y, start=1)) / sum(y)


def slow_accuracy(scores, labels) -> float:
    return float(labels[slow_order(scores)[0]] == 1)


def slow_dcg(y, k) -> float:
    return sum((2**label - 1) / math.log2(rank + 1) for rank, label in enumerate(y[:k], start=1))


def slow_ndcg(scores, labels, k) -> float:
    y = [int(labels[c]) for c in slow_order(scores)]
    return slow_dcg(y, k) / slow_dcg(sorted(y, reverse=True), k)


def slow_metrics(s, y) -> tuple[float, ...]:
    ndcgs = slow_ndcg(s, y, 5), slow_ndcg(s, y, 10)
    return slow_auc(s, y), slow_mrr(s, y), *ndcgs, slow_accuracy(s, y)


def all_metrics(impressions) -> np.ndarray:
    """``[evaluated impressions, 5]``."""
    ranked = rank_impressions(*impressions)
    values = [auc(ranked), mrr(ranked), ndcg(ranked, 5), ndcg(ranked, 10), accuracy(ranked)]
    return np.column_stack(values)


def both_classes(impressions) -> list:
    return [(s, y) for s, y in impressions.split() if 0 < y.sum() < len(y)]


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
    """Vectorised code that is wrong for one size or one tie moves every average a little."""
    expected = [slow_metrics(s.tolist(), y.tolist()) for s, y in both_classes(many_impressions)]
    np.testing.assert_allclose(all_metrics(many_impressions), expected, **EXACT)


def test_ranks_agree_with_a_sort_of_each_impression(many_impressions) -> None:
    """prediction.txt would be submitted with other ranks than were measured."""
    ranks = candidate_ranks(many_impressions.scores, many_impressions.offsets)
    for (scores, _), own in zip(
        many_impressions.split(), np.split(ranks, many_impressions.offsets[1:-1]), strict=True
    ):
        order = np.argsort(scores, kind="stable")[::-1]
        np.testing.assert_array_equal(own[order], np.arange(1, len(scores) + 1))


def test_impressions_beyond_one_block_of_the_sort_are_ranked(ragged) -> None:
    """An error between blocks would affect large data sets only, which no other test has."""
    rng = np.random.default_rng(5)
    sizes = rng.integers(0, 4, 40_000)
    scores, offsets = rng.integers(0, 3, sizes.sum()), np.append(0, np.cumsum(sizes))
    order = np.lexsort((scores, np.repeat(np.arange(len(sizes)), sizes)))
    expected = np.empty(len(scores), int)
    expected[order] = np.repeat(offsets[1:], sizes) - np.arange(len(scores))
    np.testing.assert_array_equal(candidate_ranks(scores, offsets), expected)


@pytest.mark.parametrize(
    ("scores", "labels", "ranks", "expected"),
    [
        ([0.5, 0.5, 0.2], [1, 0, 0], [2, 1, 3], (0.75, 0.5, 0.63093)),
        (
            [0.9, 0.3, 0.3, 0.1, 0.3, 0.7],
            [0, 1, 0, 0, 1, 0],
            [1, 5, 4, 6, 3, 2],
            (0.375, 0.26667, 0.54377),
        ),
    ],
)
def test_worked_examples_give_their_printed_values(scores, labels, ranks, expected) -> None:
    """The examples fix the order of ties and the meaning of MRR; both are often got wrong."""
    ranked = rank_impressions(scores, labels, [0, len(scores)])
    np.testing.assert_array_equal(candidate_ranks(scores, [0, len(scores)]), ranks)
    np.testing.assert_allclose(
        [auc(ranked)[0], mrr(ranked)[0], ndcg(ranked, 5)[0]], expected, rtol=0, atol=5e-6
    )


def test_mrr_counts_every_click_and_not_the_first_alone() -> None:
    """RecBole's MRR would say 1.0 for both; MIND says 0.667 and 0.75."""
    ranked = rank_impressions([3, 2, 1, 3, 2, 1], [1, 0, 1, 1, 1, 0], [0, 3, 6])
    np.testing.assert_allclose(mrr(ranked), [(1 + 1 / 3) / 2, 0.75], **EXACT)


def test_the_ideal_order_holds_no_more_clicks_than_k() -> None:
    """Seven clicks on top are a perfect nDCG@5; an ideal over all seven would deny it."""
    ranked = rank_impressions(np.arange(10.0), np.arange(10) >= 3, [0, 10])
    assert ndcg(ranked, 5).tolist() == [1.0]


# Ties, infinities, precision


def test_a_constant_model_gets_one_half_wherever_the_click_is_listed(ragged) -> None:
    """An argsort would reward or punish it by the order of the candidates in the file."""
    impressions = [([0.0] * 5, np.eye(5, dtype=int)[click]) for click in range(5)]
    assert auc(rank_impressions(*ragged.of(*impressions))).tolist() == [0.5] * 5


def test_infinite_scores_are_ranked_and_tied_like_numbers() -> None:
    """Since inf - inf is NaN, arithmetic on scores would lose the masked candidates of a model."""
    inf = float("inf")
    ranked = rank_impressions([inf, inf, 0, -inf, -inf], [1, 0, 0, 1, 0], [0, 5])
    assert candidate_ranks([inf, inf, 0, -inf, -inf], [0, 5]).tolist() == [2, 1, 3, 5, 4]
    assert auc(ranked).tolist() == [(2.5 + 0.5) / 6]
    np.testing.assert_allclose(mrr(ranked), [(1 / 2 + 1 / 5) / 2], **EXACT)


def test_negative_zero_ties_with_zero() -> None:
    """Sorting the bits of floats would rank 0.0 above -0.0, which a ReLU can produce."""
    assert auc(rank_impressions([-0.0, 0.0], [1, 0], [0, 2])).tolist() == [0.5]
    assert candidate_ranks([0.0, -0.0], [0, 2]).tolist() == [2, 1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_neighbouring_floats_are_no_tie(dtype) -> None:
    """Rounding scores on the way makes ties, and with them another AUC."""
    score = dtype(0.1)
    scores = np.array([score, np.nextafter(score, dtype(1)), score], dtype)
    assert auc(rank_impressions(scores, [0, 1, 0], [0, 3])).tolist() == [1.0]
    assert auc(rank_impressions(scores, [1, 0, 0], [0, 3])).tolist() == [0.25]


def test_equal_scores_of_two_impressions_are_no_tie(ragged) -> None:
    """Equal scores across the border would count candidates of another impression."""
    impressions = ragged.of(([1.0, 2.0], [0, 1]), ([2.0, 3.0], [1, 0]), ([3.0, 3.0], [1, 0]))
    assert auc(rank_impressions(*impressions)).tolist() == [1.0, 0.0, 0.5]


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
    assert values.shape == (0, 5)


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


def test_a_cut_off_below_one_is_refused() -> None:
    """nDCG@0 is 0 / 0."""
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ndcg(rank_impressions([1, 2], [0, 1], [0, 2]), 0)


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
        np.testing.assert_array_equal(
            all_metrics(plain), all_metrics(plain._replace(scores=transformed))
        )


@settings(deadline=None)
@given(any_impressions, st.randoms(use_true_random=False))
def test_an_impression_ignores_where_it_stands_among_the_others(
    ragged, impressions, random
) -> None:
    """If impressions influenced each other, results would depend on the order of the file."""
    order = random.sample(range(len(impressions)), len(impressions))
    evaluated = [i for i in order if 0 < sum(impressions[i][1]) < len(impressions[i][1])]
    place = {i: n for n, i in enumerate(sorted(evaluated))}
    np.testing.assert_array_equal(
        all_metrics(ragged.of(*(impressions[i] for i in order))),
        all_metrics(ragged.of(*impressions))[[place[i] for i in evaluated]],
    )


@settings(deadline=None)
@given(one_impression)
def test_reversing_the_scores_mirrors_auc(ragged, impression) -> None:
    """Ties that count other than one half break the symmetry."""
    scores, labels = impression
    forward = auc(rank_impressions(*ragged.of((scores, labels))))
    backward = auc(rank_impressions(*ragged.of(([-score for score in scores], labels))))
    np.testing.assert_allclose(forward + backward, np.ones(len(forward)), **EXACT)


@settings(deadline=None)
@given(any_impressions)
def test_any_small_impressions_agree_with_the_definitions(ragged, impressions) -> None:
    """Hypothesis finds sizes, ties and classes that the random thousands may miss."""
    plain = ragged.of(*impressions)
    expected = [slow_metrics(s, y) for s, y in both_classes(plain)]
    np.testing.assert_allclose(all_metrics(plain), np.reshape(expected, (-1, 5)), **EXACT)
