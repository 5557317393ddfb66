"""Metrics of what is shown, against loops over one impression at a time."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest

from recbole_tinynews.data.impressions import ArticleFacts
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.evaluation import beyond_accuracy
from recbole_tinynews.evaluation.beyond_accuracy import RankedArticles, rank_articles
from recbole_tinynews.evaluation.metrics import candidate_ranks

NEWS, CATEGORIES = 90, 7
METRICS = ("diversity", "coverage", "calibration", "novelty", "cold_share")
CUTOFFS = (1, 2, 5, 10, 1000)
NAN = math.nan


@pytest.fixture(scope="module")
def shown() -> RankedArticles:
    """500 impressions: tied scores, 0 to 39 candidates, empty histories, unknown categories."""
    rng = np.random.default_rng(4)
    category = rng.integers(0, CATEGORIES, NEWS + 1)  # 0 is unknown
    category[0] = 0
    clicks = np.where(rng.random(NEWS + 1) < 0.5, 0, rng.integers(1, 50, NEWS + 1))
    clicks[0] = 0
    candidates = Ragged.from_rows(
        [rng.choice(NEWS, rng.integers(0, 40), replace=False) + 1 for _ in range(500)], np.int32
    )
    histories = [rng.integers(1, NEWS + 1, rng.choice([0, 1, 2, 9, 70])) for _ in range(500)]
    scores = rng.normal(size=len(candidates.values)).round(1)
    history = Ragged.from_rows(histories, np.int32)
    return rank_articles(scores, candidates, history, ArticleFacts(category, clicks))


# The definitions, one impression at a time, without numpy.


def slow_diversity(first: list[int], known: list[int], **_) -> float:
    pairs = list(combinations(known, 2))
    return sum(one != other for one, other in pairs) / len(pairs) if pairs else NAN


def slow_coverage(known: list[int], possible: list[int], **_) -> float:
    return len(set(known)) / len(set(possible)) if possible else NAN


def slow_calibration(known: list[int], clicked: list[int], **_) -> float:
    if not known or not clicked:
        return NAN
    total = 0.0
    for category, count in Counter(clicked).items():
        p, q = count / len(clicked), known.count(category) / len(known)
        total += p * math.log(p / (0.99 * q + 0.01 * p))
    return total


def slow_novelty(first: list[int], clicks: list[int], **_) -> float:
    chances = [(clicks[each] + 1) / (sum(clicks) + NEWS) for each in first]
    return sum(-math.log2(each) for each in chances) / len(first) if first else NAN


def slow_cold_share(first: list[int], clicks: list[int], **_) -> float:
    return sum(clicks[each] == 0 for each in first) / len(first) if first else NAN


@pytest.mark.parametrize("k", CUTOFFS)
@pytest.mark.parametrize("name", METRICS)
def test_they_agree_with_their_definitions_written_plainly(shown, name: str, k: int) -> None:
    """Empty histories, unknown categories, fewer candidates than k: each has its own trap."""
    category, clicks = shown.facts.category.tolist(), shown.facts.clicks.tolist()

    def categories(articles: list[int]) -> list[int]:
        return [category[each] for each in articles if category[each]]

    expected = []
    for row in range(shown.ranked.rows):
        ranked = shown.ranked.row(row).tolist()
        expected.append(
            globals()[f"slow_{name}"](
                first=ranked[:k],
                known=categories(ranked[:k]),
                possible=categories(ranked),
                clicked=categories(shown.history.row(row).tolist()),
                clicks=clicks,
            )
        )
    values = getattr(beyond_accuracy, name)(shown, k)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)
    undefined = np.isnan(values).sum()
    assert 0 < undefined < len(values) or (name, k) == ("diversity", 1)


@pytest.mark.parametrize("k", CUTOFFS)
def test_distance_and_coverage_of_the_catalogue_are_those_of_loops(shown, k: int) -> None:
    """Both are computed for all impressions at once, in blocks."""
    vectors = np.random.default_rng(1).normal(size=(NEWS + 1, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = 0
    expected, seen, possible = [], set(), set()
    for row in range(shown.ranked.rows):
        articles = shown.ranked.row(row).tolist()
        pairs = [1 - vectors[a] @ vectors[b] for a, b in combinations(articles[:k], 2)]
        expected.append(sum(pairs) / len(pairs) if pairs else NAN)
        seen, possible = seen | {*articles[:k]}, possible | {*articles}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beyond_accuracy, "_BLOCK", 77)
        far = beyond_accuracy.distance(shown, k, vectors)
    np.testing.assert_allclose(far, expected, rtol=0, atol=1e-12)
    covered = beyond_accuracy.catalogue_coverage(shown, k, shown.ranked)
    assert covered == len(seen) / len(possible)


def of(ranked: list[int], history: list[int], category: list[int], clicks: list[int] | None = None):
    facts = ArticleFacts(np.array([0, *category]), np.array([0, *(clicks or [0] * len(category))]))
    return RankedArticles(Ragged.from_rows([ranked], int), Ragged.from_rows([history], int), facts)


def test_values_by_hand() -> None:
    """A second reading of the definitions: the loops above may share their author's mistakes."""
    shown = of([1, 2, 3, 4], [1, 1, 3, 3], category=[1, 1, 2, 3], clicks=[3, 0, 1, 0])
    assert beyond_accuracy.diversity(shown, 3).tolist() == [pytest.approx(2 / 3)]
    assert beyond_accuracy.coverage(shown, 3).tolist() == [pytest.approx(2 / 3)]
    assert beyond_accuracy.cold_share(shown, 4).tolist() == [0.5]
    # shares (3 + 1) / 8 and (0 + 1) / 8: 1 bit and 3 bits
    assert beyond_accuracy.novelty(shown, 2).tolist() == [2.0]
    by_hand = 0.5 * math.log(0.5 / (0.99 + 0.01 * 0.5)) + 0.5 * math.log(0.5 / (0.01 * 0.5))
    assert beyond_accuracy.calibration(shown, 2).tolist() == [pytest.approx(by_hand)]


def test_articles_are_ranked_as_every_other_metric_ranks_them(many_impressions) -> None:
    """Ties broken otherwise would show other articles than those whose clicks are counted."""
    scores, _, offsets = many_impressions
    ids = np.arange(1, len(scores) + 1)
    candidates = Ragged(ids, offsets)
    history = Ragged.from_lengths(ids[:0], np.zeros(candidates.rows, int))
    facts = ArticleFacts(np.zeros(len(ids) + 1, int), np.zeros(len(ids) + 1, int))
    ranked = rank_articles(scores, candidates, history, facts).ranked
    ranks = candidate_ranks(scores, offsets)
    for start, end in pairwise(offsets):
        assert ranks[ranked.values[start:end] - 1].tolist() == list(range(1, end - start + 1))


def test_a_part_is_what_its_impressions_are_alone(shown) -> None:
    kept = np.random.default_rng(1).random(shown.ranked.rows) < 0.4
    part = shown.only(kept)
    for name in METRICS:
        metric = getattr(beyond_accuracy, name)
        np.testing.assert_array_equal(metric(part, 5), metric(shown, 5)[kept])
        assert metric(shown.only(kept & False), 5).shape == (0,)


def test_scores_of_other_candidates_are_refused(shown) -> None:
    """A score too few shifts every later impression, and each value still looks like one."""
    with pytest.raises(ValueError, match=r"a score for each of \d+ candidates"):
        rank_articles(np.zeros(3), shown.ranked, shown.history, shown.facts)
    with pytest.raises(ValueError, match="499 histories"):
        rank_articles(
            np.zeros(len(shown.ranked.values)),
            shown.ranked,
            shown.history.between(0, 499),
            shown.facts,
        )


@pytest.mark.parametrize("name", METRICS)
def test_a_cut_off_below_one_is_refused(shown, name: str) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        getattr(beyond_accuracy, name)(shown, 0)
