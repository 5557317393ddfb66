from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from test_top_k import recboles

from recbole_tinynews.evaluation.metrics import auc, rank_impressions
from recbole_tinynews.evaluation.scored import ScoredImpressions, gauc


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
    assert math.isnan(gauc(one._replace(labels=np.array([-1, -1, -1]))))
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


def test_labels_of_the_ranked_metrics_and_of_gauc_are_the_same(many_impressions) -> None:
    """With each impression a user of its own, GAUC is AUC weighted by clicks."""
    scores, labels, offsets = many_impressions
    ranked = rank_impressions(scores, labels, offsets)
    scored = ScoredImpressions(scores, labels, offsets, np.arange(len(offsets) - 1))
    assert gauc(scored) == pytest.approx(np.average(auc(ranked), weights=ranked.clicked))
