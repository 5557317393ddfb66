"""What every per-impression metric shares in RecBole's evaluator: averaging and rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from recbole.evaluator.base_metric import AbstractMetric
from recbole.utils import EvaluatorType

from recbole_tinynews.evaluation.metrics import RankedImpressions
from recbole_tinynews.settings.protocol import Settings

# where the collector puts the RankedImpressions, and the ScoredImpressions for those who need them
RANKED_KEY, SCORED_KEY = "rec.impressions", "rec.scored_impressions"


class ImpressionMetric(AbstractMetric):
    """Unweighted mean over the evaluated impressions; NaN where there is none.

    A subclass returns its values per impression, under the keys of the result. It is a ``VALUE``
    metric in RecBole's terms, which permits ``eval_args: {mode: labeled}`` and lets it stand
    beside RecBole's AUC and LogLoss.
    """

    metric_type = EvaluatorType.VALUE
    metric_need: tuple[str, ...] = ("rec.score", "data.label", RANKED_KEY)
    at_k = False  # whether it has a result for each k of ``topk``

    def values(self, ranked: RankedImpressions) -> dict[str, NDArray[np.float64]]:
        """Values of the evaluated impressions by (lower case) key of the result.

        None for a metric of all impressions together, which overrides ``calculate_metric``.
        """
        return {}

    def of_each_impression(self, dataobject: Any) -> dict[str, NDArray[np.float64]]:
        """Values by key, ``[impressions]``, NaN where skipped; from RecBole's ``DataStruct``."""
        ranked = dataobject.get(RANKED_KEY)
        found = {}
        for key, values in self.values(ranked).items():
            found[key] = np.full(len(ranked.evaluated), np.nan)
            found[key][ranked.evaluated] = values
        return found

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Averages by key, from RecBole's ``DataStruct``."""
        of_each = self.of_each_impression(dataobject)
        return {key: self._average(values) for key, values in of_each.items()}

    def _average(self, values: NDArray[np.float64]) -> float:
        known = values[~np.isnan(values)]
        return self._rounded(float(known.mean()) if len(known) else float("nan"))

    def _rounded(self, value: float) -> float:
        return round(value, self.decimal_place)


class ImpressionMetricAtK(ImpressionMetric):
    """A metric of the first k candidates, for each k of ``topk``, under the keys ``key@k``."""

    at_k = True
    key: str

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.topk = config["topk"]

    @staticmethod
    def at(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
        """Values of the evaluated impressions at one k."""
        raise NotImplementedError

    def values(self, ranked: RankedImpressions) -> dict[str, NDArray[np.float64]]:
        """Values of the evaluated impressions by key."""
        return {f"{self.key}@{k}": self.at(ranked, k) for k in self.topk}
