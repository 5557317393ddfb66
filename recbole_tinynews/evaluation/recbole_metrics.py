"""The per-impression metrics under RecBole's evaluator, and their registration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recbole.evaluator import register

from recbole_tinynews.evaluation.impression_metric import RANKED_KEY, ImpressionMetric
from recbole_tinynews.evaluation.metrics import RankedImpressions, accuracy, auc, mrr, ndcg
from recbole_tinynews.settings.protocol import Settings


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


class ImpressionNDCG(ImpressionMetric):
    """nDCG at each k of ``topk``. RecBole's own ``NDCG`` needs a user by item matrix."""

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.topk = config["topk"]

    def values(self, ranked: RankedImpressions) -> dict[str, NDArray[np.float64]]:
        """The nDCG at each k, under the keys ``ndcg@k``."""
        return {f"ndcg@{k}": ndcg(ranked, k) for k in self.topk}


class ImpressionCount(ImpressionMetric):
    """Numbers of impressions that were averaged and that could not be evaluated."""

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Counts, not averages, under the keys ``impressions`` and ``skipped``."""
        ranked = dataobject.get(RANKED_KEY)
        return {"impressions": len(ranked.clicked), "skipped": ranked.skipped}


METRIC_CLASSES = (ImpressionAUC, ImpressionMRR, ImpressionNDCG, ImpressionAccuracy, ImpressionCount)

# What users write in `metrics` (lower case) -> the registered class of ours that computes it.
METRIC_NAMES = {
    "auc": ImpressionAUC.__name__,
    "mrr": ImpressionMRR.__name__,
    "ndcg": ImpressionNDCG.__name__,
    "accuracy": ImpressionAccuracy.__name__,
}
COUNT_METRIC = ImpressionCount.__name__


def register_metrics(metrics: Iterable[type[ImpressionMetric]] = METRIC_CLASSES) -> None:
    """Add metrics to RecBole's registry, before a ``Config`` is built; a repeat changes nothing.

    RecBole's ``Config`` and ``Evaluator`` share the registry's objects, so they are extended in
    place. Stock metrics stay: a name that belongs to another class is refused.
    """
    named = {metric.__name__.lower(): metric for metric in metrics}
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
