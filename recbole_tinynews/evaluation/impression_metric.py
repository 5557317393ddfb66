"""What every per-impression metric shares in RecBole's evaluator: averaging and rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from recbole.evaluator.base_metric import AbstractMetric
from recbole.utils import EvaluatorType

from recbole_tinynews.evaluation.metrics import RankedImpressions

RANKED_KEY = "rec.impressions"  # where the collector puts the RankedImpressions


class ImpressionMetric(AbstractMetric):
    """Unweighted mean over the evaluated impressions; NaN where there is none.

    A subclass returns its values per impression, under the keys of the result. It is a ``VALUE``
    metric in RecBole's terms, which permits ``eval_args: {mode: labeled}`` and lets it stand
    beside RecBole's AUC and LogLoss.
    """

    metric_type = EvaluatorType.VALUE
    metric_need = ("rec.score", "data.label", RANKED_KEY)

    def values(self, ranked: RankedImpressions) -> dict[str, NDArray[np.float64]]:
        """Values of the evaluated impressions by (lower case) key of the result."""
        raise NotImplementedError(f"{type(self).__name__} must implement values(ranked).")

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Averages by key, from RecBole's ``DataStruct``."""
        per_key = self.values(dataobject.get(RANKED_KEY))
        return {key: self._average(values) for key, values in per_key.items()}

    def _average(self, values: NDArray[np.float64]) -> float:
        if not len(values):
            return float("nan")
        return round(float(values.mean()), self.decimal_place)
