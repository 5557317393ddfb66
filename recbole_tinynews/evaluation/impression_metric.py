"""Base classes of per-impression metrics for RecBole's evaluator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recbole.evaluator.base_metric import AbstractMetric
from recbole.utils import EvaluatorType

from recbole_tinynews.settings.protocol import Settings

# keys of the collector's RankedImpressions, ScoredImpressions and RankedArticles
RANKED_KEY, SCORED_KEY = "rec.impressions", "rec.scored_impressions"
ARTICLES_KEY = "rec.ranked_articles"
SKIPPED = "skipped"  # prefix of a metric's name: number of impressions left out of its mean


def is_count(result: str) -> bool:
    """Whether a result is a count rather than a metric.

    >>> [is_count(each) for each in ("skipped", "skipped_calibration@5", "calibration@5")]
    [True, True, False]
    """
    return result in ("impressions", "tokens") or result.startswith(SKIPPED)


def mean_of_known(values: NDArray[np.float64]) -> float:
    """Mean of the values that are not NaN; NaN without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


class ImpressionMetric(AbstractMetric):
    """Unweighted mean over the evaluated impressions; NaN without any.

    As a ``VALUE`` metric, it permits RecBole's ``eval_args: {mode: labeled}``. ``key`` is the name
    of the result; ``measure`` maps ``RankedImpressions`` to values and, if ``at_k``, takes each k
    of ``topk`` for a result ``key@k``.
    """

    metric_type = EvaluatorType.VALUE
    metric_need: tuple[str, ...] = ("rec.score", "data.label", RANKED_KEY)
    key: str
    measure: Callable[..., NDArray[np.float64]]
    at_k = False

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.topk = config["topk"] if self.at_k else ()

    def by_key(self, impressions: Any) -> dict[str, NDArray[np.float64]]:
        """Values of ``measure`` by name of the result."""
        if not self.at_k:
            return {self.key: self.measure(impressions)}
        return {f"{self.key}@{k}": self.measure(impressions, k) for k in self.topk}

    def of_each_impression(self, dataobject: Any) -> dict[str, NDArray[np.float64]]:
        """Values by key, ``[impressions]``, NaN where skipped; from RecBole's ``DataStruct``."""
        ranked = dataobject.get(RANKED_KEY)
        return {key: ranked.of_all(values) for key, values in self.by_key(ranked).items()}

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Averages by key, from RecBole's ``DataStruct``."""
        of_each = self.of_each_impression(dataobject)
        return {key: self._average(values) for key, values in of_each.items()}

    def _average(self, values: NDArray[np.float64]) -> float:
        return round(mean_of_known(values), self.decimal_place)


class ArticleMetric(ImpressionMetric):
    """A metric of the first k ``RankedArticles``; ``skipped_key@k`` counts undefined values."""

    metric_need = (*ImpressionMetric.metric_need, ARTICLES_KEY)
    at_k = True

    def of_each_impression(self, dataobject: Any) -> dict[str, NDArray[np.float64]]:
        """Values by key, ``[impressions]``, NaN where there is none."""
        return self.by_key(dataobject.get(ARTICLES_KEY)) if ARTICLES_KEY in dataobject else {}

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Averages by key, and the number of impressions left out, if any."""
        of_each = self.of_each_impression(dataobject)
        averages = {key: self._average(values) for key, values in of_each.items()}
        counts = {f"{SKIPPED}_{key}": int(np.isnan(v).sum()) for key, v in of_each.items()}
        return {**averages, **{key: count for key, count in counts.items() if count}}


class ScoredMetric(ImpressionMetric):
    """A metric of ``ScoredImpressions``: a value for each impression, or one overall number."""

    metric_need = (*ImpressionMetric.metric_need, SCORED_KEY)
    overall = False  # known to be one number, which is then computed once

    def of_each_impression(self, dataobject: Any) -> dict[str, NDArray[np.float64]]:
        """Values by key, ``[impressions]``; empty if there is one number."""
        values = {} if self.overall else self.by_key(dataobject.get(SCORED_KEY))
        return {key: each for key, each in values.items() if np.ndim(each)}

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Averages over the impressions with a value, or the one number."""
        values = self.by_key(dataobject.get(SCORED_KEY))
        return {key: self._average(np.atleast_1d(each)) for key, each in values.items()}
