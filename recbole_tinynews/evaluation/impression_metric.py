"""What every per-impression metric shares in RecBole's evaluator: averaging and rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from recbole.evaluator.base_metric import AbstractMetric
from recbole.utils import EvaluatorType

from recbole_tinynews.evaluation.metrics import RankedImpressions
from recbole_tinynews.evaluation.ranked_articles import RankedArticles
from recbole_tinynews.settings.protocol import Settings

# where the collector puts the RankedImpressions, and for those who need them the ScoredImpressions
# and the RankedArticles
RANKED_KEY, SCORED_KEY = "rec.impressions", "rec.scored_impressions"
ARTICLES_KEY = "rec.ranked_articles"
SKIPPED = "skipped"  # before a metric's name: the number of impressions that its mean leaves out


def is_count(result: str) -> bool:
    """Whether a result says how much others were computed from: no metric has such a name.

    >>> [is_count(each) for each in ("skipped", "skipped_calibration@5", "calibration@5")]
    [True, True, False]
    """
    return result in ("impressions", "tokens") or result.startswith(SKIPPED)


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


class _AtEachK(ImpressionMetric):
    at_k = True
    key: str

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.topk = config["topk"]


class ImpressionMetricAtK(_AtEachK):
    """A metric of the first k candidates, for each k of ``topk``, under the keys ``key@k``."""

    @staticmethod
    def at(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
        """Values of the evaluated impressions at one k."""
        raise NotImplementedError

    def values(self, ranked: RankedImpressions) -> dict[str, NDArray[np.float64]]:
        """Values of the evaluated impressions by key."""
        return {f"{self.key}@{k}": self.at(ranked, k) for k in self.topk}


class ArticleMetricAtK(_AtEachK):
    """A metric of the articles among the first k, whoever clicked, under the keys ``key@k``.

    Every impression counts that has a value, with or without clicks; if some have none, their
    number is the result ``skipped_key@k``. Where no articles are ranked, as in the validation of
    post-training, there is no result.
    """

    metric_need = (*ImpressionMetric.metric_need, ARTICLES_KEY)

    @staticmethod
    def at(shown: RankedArticles, k: int) -> NDArray[np.float64]:
        """Values of all impressions at one k, NaN where there is none."""
        raise NotImplementedError

    def of_each_impression(self, dataobject: Any) -> dict[str, NDArray[np.float64]]:
        """Values by key, ``[impressions]``, NaN where there is none."""
        if ARTICLES_KEY not in dataobject:
            return {}
        shown = dataobject.get(ARTICLES_KEY)
        return {f"{self.key}@{k}": self.at(shown, k) for k in self.topk}

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Averages by key, and how many impressions they leave out, if any."""
        of_each = self.of_each_impression(dataobject)
        averages = {key: self._average(values) for key, values in of_each.items()}
        counts = {f"{SKIPPED}_{key}": int(np.isnan(v).sum()) for key, v in of_each.items()}
        return {**averages, **{key: count for key, count in counts.items() if count}}
