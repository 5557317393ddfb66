"""The per-impression metrics under RecBole's evaluator, and their registration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recbole.evaluator import register

from recbole_tinynews.evaluation import beyond_accuracy, top_k
from recbole_tinynews.evaluation.impression_metric import (
    RANKED_KEY,
    SCORED_KEY,
    ArticleMetricAtK,
    ImpressionMetric,
    ImpressionMetricAtK,
)
from recbole_tinynews.evaluation.metrics import RankedImpressions, accuracy, auc, mrr, ndcg
from recbole_tinynews.evaluation.scored import gauc


class ImpressionAUC(ImpressionMetric):
    """AUC of each impression. RecBole's own ``AUC`` pools all rows into one list."""

    def values(self, ranked: RankedImpressions) -> dict[str, NDArray[np.float64]]:
        """AUC of each impression, under the key ``auc``."""
        return {"auc": auc(ranked)}


class ImpressionAccuracy(ImpressionMetric):
    """How often a click is ranked first: the matching accuracy of post-training."""

    def values(self, ranked: RankedImpressions) -> dict[str, NDArray[np.float64]]:
        """1 where a click is ranked first, else 0, under the key ``accuracy``."""
        return {"accuracy": accuracy(ranked)}


class ImpressionMRR(ImpressionMetric):
    """Reciprocal ranks of all clicks. RecBole's own ``MRR`` counts only the first click."""

    def values(self, ranked: RankedImpressions) -> dict[str, NDArray[np.float64]]:
        """Mean reciprocal rank of the clicks, under the key ``mrr``."""
        return {"mrr": mrr(ranked)}


class ImpressionNDCG(ImpressionMetricAtK):
    """nDCG at each k of ``topk``. RecBole's own ``NDCG`` needs a user by item matrix."""

    key, at = "ndcg", staticmethod(ndcg)


class ImpressionRecall(ImpressionMetricAtK):
    """Share of an impression's clicks among its first k."""

    key, at = "recall", staticmethod(top_k.recall)


class ImpressionHit(ImpressionMetricAtK):
    """How often a click is among the first k; others call it HitRate."""

    key, at = "hit", staticmethod(top_k.hit)


class ImpressionPrecision(ImpressionMetricAtK):
    """Share of the first k that is clicked."""

    key, at = "precision", staticmethod(top_k.precision)


class ImpressionMAP(ImpressionMetricAtK):
    """Mean over impressions of the average precision of their first k."""

    key, at = "map", staticmethod(top_k.average_precision)


class UserGAUC(ImpressionMetric):
    """AUC of each user over all of its impressions, weighted by its clicks."""

    metric_need = (*ImpressionMetric.metric_need, SCORED_KEY)

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """The mean over users, under the key ``gauc``; no impression has a value of its own."""
        return {"gauc": self._rounded(gauc(dataobject.get(SCORED_KEY)))}


class CategoryDiversity(ArticleMetricAtK):
    """Share of the pairs among the first k whose categories differ."""

    key, at = "diversity", staticmethod(beyond_accuracy.diversity)


class CategoryCoverage(ArticleMetricAtK):
    """Share of the categories of an impression that are among its first k."""

    key, at = "coverage", staticmethod(beyond_accuracy.coverage)


class CategoryCalibration(ArticleMetricAtK):
    """Divergence of the categories of the first k from those of the history; smaller is better."""

    smaller = True
    key, at = "calibration", staticmethod(beyond_accuracy.calibration)


class ClickNovelty(ArticleMetricAtK):
    """Mean self-information of the first k by training clicks, in bits."""

    key, at = "novelty", staticmethod(beyond_accuracy.novelty)


class ColdShare(ArticleMetricAtK):
    """Share of the first k that nobody clicked in training."""

    key, at = "cold_share", staticmethod(beyond_accuracy.cold_share)


class ImpressionCount(ImpressionMetric):
    """Numbers of impressions that were averaged and that could not be evaluated."""

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Counts, not averages, under the keys ``impressions`` and ``skipped``."""
        ranked = dataobject.get(RANKED_KEY)
        return {"impressions": len(ranked.clicked), "skipped": ranked.skipped}


# What users write in `metrics` (lower case) -> the class of ours that computes it.
METRICS: dict[str, type[ImpressionMetric]] = {
    "auc": ImpressionAUC,
    "mrr": ImpressionMRR,
    "ndcg": ImpressionNDCG,
    "recall": ImpressionRecall,
    "hit": ImpressionHit,
    "precision": ImpressionPrecision,
    "map": ImpressionMAP,
    "gauc": UserGAUC,
    "diversity": CategoryDiversity,
    "coverage": CategoryCoverage,
    "calibration": CategoryCalibration,
    "novelty": ClickNovelty,
    "cold_share": ColdShare,
    "accuracy": ImpressionAccuracy,
}
COUNT_METRIC = ImpressionCount.__name__


def metric_of(result: str) -> type[ImpressionMetric] | None:
    """The class that computes a result such as ``recall@5``; None where there is none."""
    return METRICS.get(result.lower().partition("@")[0])


def bigger_is_better(result: str) -> bool:
    """Whether a higher value of a result such as ``auc`` is the better one."""
    metric = metric_of(result)
    return metric is None or not metric.smaller


def needs_clicks(result: str) -> bool:
    """Whether a result says how well clicks are ranked, so that it may choose the best epoch.

    One of what is shown may not: a model that knows nothing is more diverse than any other.
    """
    metric = metric_of(result)
    return metric is not None and not issubclass(metric, ArticleMetricAtK)


def of_each_impression(result: str) -> bool:
    """Whether an impression has a value of a result; GAUC has one for all of them."""
    metric = metric_of(result)
    return metric is not None and metric is not UserGAUC


def results_of(names: Iterable[str], topk: Iterable[int]) -> list[str]:
    """Names of the results of some metrics, such as ``auc`` and ``ndcg@5``."""
    ks = list(topk)
    return [
        result
        for name in names
        for result in ([f"{name}@{k}" for k in ks] if METRICS[name].at_k else [name])
    ]


def register_metrics(metrics: Iterable[type[ImpressionMetric]] | None = None) -> None:
    """Add metrics to RecBole's registry, before a ``Config`` is built; a repeat changes nothing.

    RecBole's ``Config`` and ``Evaluator`` share the registry's objects, so they are extended in
    place. Stock metrics stay: a name that belongs to another class is refused.

    Args:
        metrics: None: all of ``METRICS``, and the counts.
    """
    added = [*METRICS.values(), ImpressionCount] if metrics is None else metrics
    named: dict[str, Any] = {metric.__name__.lower(): metric for metric in added}
    for name, metric in named.items():
        present = register.metrics_dict.get(name, metric)
        if present is not metric:
            raise ValueError(
                f"register_metrics expects a name that is free in RecBole's registry, got '{name}' "
                f"for {metric.__module__}.{metric.__name__}, which is "
                f"{present.__module__}.{present.__name__}. Rename the class."
            )
    register.metrics_dict.update(named)
    register.metric_information.update({n: list(m.metric_need) for n, m in named.items()})
    register.metric_types.update({name: metric.metric_type for name, metric in named.items()})
    register.smaller_metrics += [
        name for name, m in named.items() if m.smaller and name not in register.smaller_metrics
    ]
