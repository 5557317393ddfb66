from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from recbole.evaluator import Evaluator, register
from recbole.evaluator import metrics as stock

from recbole_tinynews.data.impressions import ArticleFacts
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.evaluation.beyond_accuracy import RankedArticles, rank_articles
from recbole_tinynews.evaluation.collector import struct_of
from recbole_tinynews.evaluation.metrics import ScoredImpressions
from recbole_tinynews.evaluation.recbole_metrics import (
    COUNT_METRIC,
    METRICS,
    ArticleMetric,
    ImpressionMetric,
    is_count,
    register_metrics,
    results_of,
)

CONFIG = {
    "metrics": [*(metric.__name__ for metric in METRICS.values()), COUNT_METRIC],
    "topk": [5, 10],
    "metric_decimal_place": 4,
}


@pytest.fixture(autouse=True)
def _registered() -> None:
    register_metrics()


OF_ARTICLES = [name for name, metric in METRICS.items() if issubclass(metric, ArticleMetric)]
RESULTS = results_of([name for name in METRICS if name not in OF_ARTICLES], CONFIG["topk"])


def evaluate(
    scores, labels, offsets, articles: RankedArticles | None = None, **changed
) -> dict[str, float]:
    users = np.arange(len(offsets) - 1) // 2
    arrays = np.array(scores), np.array(labels), np.array(offsets)
    shown = ScoredImpressions(*arrays, users, articles)
    return dict(Evaluator(CONFIG | changed).evaluate(struct_of(shown)))


def test_results_have_the_promised_keys_and_average_evaluated_impressions_only() -> None:
    """Dividing by all impressions, as some code does, lowers every number by the skipped share."""
    result = evaluate([0.5, 0.5, 0.2, 1, 2, 1, 2], [1, 0, 0, 1, 1, 0, 1], [0, 3, 5, 7])
    assert result == {
        "auc": 0.875,
        "mrr": 0.75,
        "ndcg@5": 0.8155,
        "ndcg@10": 0.8155,
        "recall@5": 1.0,
        "recall@10": 1.0,
        "hit@5": 1.0,
        "hit@10": 1.0,
        "precision@5": 0.2,
        "precision@10": 0.1,
        "map@5": 0.75,
        "map@10": 0.75,
        "gauc": 0.9375,  # one user has 5.5 of 6 pairs and 3 clicks, the other 1 of 1 and 1 click
        "accuracy": 0.5,
        "impressions": 2,
        "skipped": 1,
    }
    assert [type(value) for value in result.values()] == [float] * len(RESULTS) + [int] * 2


def test_metrics_of_articles_need_no_clicks_and_say_how_many_they_leave_out() -> None:
    """A mean over a part of the impressions must not look like one over all of them."""
    scores, labels, offsets = np.array([2.0, 1, 3, 4]), [-1, -1, 0, 1], np.array([0, 2, 4])
    articles = rank_articles(
        scores,
        Ragged(np.array([1, 2, 2, 3]), offsets),
        Ragged.from_rows([[], [3]], int),
        ArticleFacts(np.array([0, 1, 2, 1]), np.array([0, 0, 3, 0])),
    )
    result = evaluate(scores, labels, offsets, articles, topk=[1, 2])
    assert {name: value for name, value in result.items() if is_count(name)} == {
        "skipped_diversity@1": 2,  # of one article there is no pair
        "skipped_calibration@1": 1,  # the first user has read nothing
        "skipped_calibration@2": 1,
        "impressions": 1,
        "skipped": 1,
    }
    assert {*results_of(OF_ARTICLES, [1, 2])} < result.keys()
    assert math.isnan(result["diversity@1"])
    assert (result["diversity@2"], result["coverage@1"], result["coverage@2"]) == (1.0, 0.5, 1.0)
    assert (result["cold_share@1"], result["cold_share@2"]) == (1.0, 0.5)
    assert (result["calibration@1"], result["calibration@2"]) == (0.0, round(-math.log(0.505), 4))
    assert result["novelty@1"] == round(math.log2(6), 4)
    assert result["novelty@2"] == round(math.log2(6) - 1, 4)


def test_metric_decimal_place_is_the_users() -> None:
    """Rounding to 4 places affects early stopping; a user must be able to raise it."""
    result = evaluate([0.5, 0.5, 0.2], [1, 0, 0], [0, 3], metric_decimal_place=9, topk=[1, 3])
    assert result["ndcg@3"] == round(1 / math.log2(3), 9)
    assert result["ndcg@1"] == 0.0


def test_nothing_evaluated_is_nan_and_counted_without_a_warning() -> None:
    """A 0 would look like a terrible model where only labels are missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = evaluate([0.5, 0.2], [-1, -1], [0, 2])
    assert (result.pop("impressions"), result.pop("skipped")) == (0, 1)
    assert set(result) == set(RESULTS)  # none of articles, where only texts are ranked
    assert all(math.isnan(value) for value in result.values())


def test_a_name_of_another_class_is_refused_and_nothing_is_registered() -> None:
    """A class named AUC would replace RecBole's for every model of the process."""
    free = type("SomethingFree", (ImpressionMetric,), {})
    taken = type("AUC", (ImpressionMetric,), {})
    with pytest.raises(ValueError, match=r"got it for .*recbole.evaluator.metrics.AUC"):
        register_metrics([free, taken])
    assert register.metrics_dict["auc"] is stock.AUC
    assert "somethingfree" not in register.metrics_dict
