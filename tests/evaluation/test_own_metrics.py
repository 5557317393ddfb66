from __future__ import annotations

import math
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import pytest
from recbole.evaluator import Evaluator

from recbole_tinynews.evaluation.collector import struct_of
from recbole_tinynews.evaluation.metrics import ScoredImpressions
from recbole_tinynews.evaluation.recbole_metrics import (
    METRICS,
    bigger_is_better,
    files_of_metric,
    impression_metric,
    is_own,
    register_metrics,
    results_of,
)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Metrics of one test are unknown to the next."""
    with patch.dict(METRICS):
        yield


def evaluate(*names: str, users=(1, 1, 2), **changed) -> dict[str, float]:
    """Three impressions: a usual one, an unlabelled one, one with clicks at ranks 1 and 3."""
    scores = np.array([0.9, 0.2, 0.4, 0.1, 0.8, 0.7, 0.6])
    labels = np.array([0, 1, 0, -1, 1, 0, 1])
    offsets = np.array([0, 3, 4, 7])
    scored = ScoredImpressions(scores, labels, offsets, np.array(users))
    struct = struct_of(scored)
    register_metrics()
    metrics = [METRICS[name].__name__ for name in names]
    config = {"metrics": metrics, "topk": [1, 2], "metric_decimal_place": 6, **changed}
    return dict(Evaluator(config).evaluate(struct))


def test_a_function_is_a_metric_of_its_name() -> None:
    """Its mean is over the impressions that it has a value for, as of every other metric."""

    @impression_metric
    def Worst_Click(shown: ScoredImpressions):  # noqa: N802  # results are lower case
        clicked = shown.labels == 1
        worst = [
            max(shown.ranks[a:b][clicked[a:b]], default=np.nan)
            for a, b in zip(shown.offsets, shown.offsets[1:], strict=False)
        ]
        return np.array(worst, float)

    assert evaluate("auc", "worst_click") == {"auc": 0.25, "worst_click": 3.0}
    assert is_own("worst_click")
    assert not is_own("auc")
    assert files_of_metric("worst_click")[0].name == "test_own_metrics.py"
    assert files_of_metric("auc") == []


def test_zero_by_zero_leaves_an_impression_out_without_a_warning() -> None:
    """A share of no clicks is not 0: it would lower every mean."""

    @impression_metric
    def first_half(shown: ScoredImpressions):
        clicked = shown.labels == 1
        upper = shown.ranks <= shown.spread(shown.sizes) / 2
        return shown.sum(clicked & upper) / shown.sum(clicked)

    assert evaluate("first_half") == {"first_half": 0.25}  # 0 of 1, none, 1 of 2


def test_at_k_there_is_a_result_for_each_k() -> None:
    @impression_metric(at_k=True)
    def clicks(shown: ScoredImpressions, k: int):
        return shown.sum((shown.labels == 1) & (shown.ranks <= k))

    assert evaluate("clicks") == {
        "clicks@1": pytest.approx(1 / 3),
        "clicks@2": pytest.approx(1 / 3),
    }
    assert results_of(["auc", "clicks"], [1, 2]) == ["auc", "clicks@1", "clicks@2"]


def test_one_number_for_all_impressions_is_a_result_and_no_column_of_a_dump() -> None:
    """Coverage or GAUC have no value for a single impression."""

    @impression_metric
    def readers(shown: ScoredImpressions):
        return len(set(shown.users))

    assert evaluate("readers") == {"readers": 2.0}
    metric = METRICS["readers"]({"metric_decimal_place": 4, "topk": [1]})
    one = np.ones(2), np.array([0, 1]), np.array([0, 2])
    assert metric.of_each_impression(ScoredImpressions(*one, np.array([5]))) == {}


def test_which_value_is_better_is_the_functions_to_say() -> None:
    """Early stopping would keep the worst epoch."""

    @impression_metric(smaller_is_better=True, at_k=True)
    def misses(shown: ScoredImpressions, k: int):
        return shown.sum((shown.labels == 1) & (shown.ranks > k))

    assert not bigger_is_better("misses@5")
    assert bigger_is_better("auc")


@pytest.mark.parametrize(
    ("returned", "shape"), [(lambda shown: shown.scores, r"\(6,\)"), (lambda shown: [[1]], r"1, 1")]
)
def test_a_value_per_candidate_is_refused_when_the_function_is_defined(returned, shape) -> None:
    """It would otherwise end a run after its first epoch, or be averaged with other weights."""

    def odd(shown: ScoredImpressions):
        return returned(shown)

    with pytest.raises(ValueError, match=f"metric odd expects .*3 impressions.*{shape}"):
        impression_metric(odd)
    assert "odd" not in METRICS


def test_where_no_impression_is_left_a_metric_has_no_value() -> None:
    """An evaluation without clicks on cold news would end in an error after the training."""

    @impression_metric
    def spread_of_all(shown: ScoredImpressions):
        return shown.scores.max() - shown.scores.min()

    empty = ScoredImpressions(np.empty(0), np.empty(0, np.int8), np.zeros(1, int), np.empty(0, int))
    struct = struct_of(empty)
    register_metrics()
    metric = METRICS["spread_of_all"]({"topk": [1], "metric_decimal_place": 4})
    assert math.isnan(metric.calculate_metric(struct)["spread_of_all"])


def test_a_metric_of_the_package_is_not_replaced() -> None:
    """``auc`` in a table would be something else, and nobody would see it."""
    with pytest.raises(ValueError, match="got auc"):

        @impression_metric
        def auc(shown: ScoredImpressions):
            return shown.sum(shown.labels)


def test_a_name_that_no_setting_could_write_or_that_results_have_is_refused() -> None:
    """The count of impressions would be replaced by a metric, without a word."""

    def skipped(shown: ScoredImpressions):
        return 1.0

    for function in (skipped, lambda shown: 1.0):
        with pytest.raises(ValueError, match="expects a function with a name of its own"):
            impression_metric(function)


def test_another_modules_metric_is_not_replaced_and_ones_own_is() -> None:
    """In a notebook a cell is run again; two libraries that share a name are a mistake."""

    def first(shown: ScoredImpressions):
        return shown.sum(shown.labels > 0)

    def again(shown: ScoredImpressions):
        return 2 * shown.sum(shown.labels > 0)

    again.__name__ = "first"
    impression_metric(first)
    before = evaluate("first")
    impression_metric(again)
    assert evaluate("first") == {"first": 2 * before["first"]}
    elsewhere = {"__name__": "elsewhere"}
    exec(  # a module of its own, as a second library has
        compile("def first(shown):\n    return 1.0\n", "elsewhere.py", "exec"), elsewhere
    )
    with pytest.raises(ValueError, match="got first"):
        impression_metric(elsewhere["first"])
