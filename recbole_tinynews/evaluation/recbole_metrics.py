"""Per-impression metrics in RecBole's evaluator: adapters, registry, a user's own, ``metrics``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from recbole.evaluator import register
from recbole.evaluator.base_metric import AbstractMetric
from recbole.utils import EvaluatorType

from recbole_tinynews.evaluation import beyond_accuracy as beyond
from recbole_tinynews.evaluation import metrics
from recbole_tinynews.evaluation.metrics import SKIPPED, ScoredImpressions, is_count
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.settings.values import brief

Function = TypeVar("Function", bound=Callable[..., Any])
EVALUATED, ARTICLES = "rec.impressions", "rec.articles"  # what metrics need of the collector


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
    metric_need: tuple[str, ...] = ("rec.score", "data.label", EVALUATED)
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

    def of_each_impression(self, evaluated: ScoredImpressions) -> dict[str, NDArray[np.float64]]:
        """Values by key, ``[impressions]``, NaN where there is none."""
        ranked = evaluated.ranked
        return {key: ranked.of_all(values) for key, values in self.by_key(ranked).items()}

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Averages by key, from RecBole's ``DataStruct``."""
        of_each = self.of_each_impression(dataobject.get(EVALUATED))
        return {key: self.average(values) for key, values in of_each.items()}

    def average(self, values: NDArray[np.float64]) -> float:
        """The mean over impressions, rounded."""
        return round(mean_of_known(values), self.decimal_place)


class ArticleMetric(ImpressionMetric):
    """A metric of the first k ``RankedArticles``; ``skipped_key@k`` counts undefined values."""

    metric_need = (*ImpressionMetric.metric_need, ARTICLES)
    at_k = True

    def of_each_impression(self, evaluated: ScoredImpressions) -> dict[str, NDArray[np.float64]]:
        """Values by key, ``[impressions]``, NaN where there is none."""
        return {} if evaluated.articles is None else self.by_key(evaluated.articles)

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Averages by key, and the number of impressions left out, if any."""
        of_each = self.of_each_impression(dataobject.get(EVALUATED))
        averages = {key: self.average(values) for key, values in of_each.items()}
        counts = {f"{SKIPPED}_{key}": int(np.isnan(v).sum()) for key, v in of_each.items()}
        return {**averages, **{key: count for key, count in counts.items() if count}}


class ScoredMetric(ImpressionMetric):
    """A metric of ``ScoredImpressions``: a value for each impression, or one overall number."""

    def of_each_impression(self, evaluated: ScoredImpressions) -> dict[str, NDArray[np.float64]]:
        """Values by key, ``[impressions]``; empty if there is one number."""
        values = self.by_key(evaluated)
        return {key: of_key for key, of_key in values.items() if np.ndim(of_key)}

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Averages over the impressions with a value, or the one number."""
        values = self.by_key(dataobject.get(EVALUATED))
        return {key: self.average(np.atleast_1d(of_key)) for key, of_key in values.items()}


class OwnMetric(ScoredMetric):
    """A metric that calls a user's function; every function has its own subclass."""

    function: Callable[..., Any]

    def measure(self, scored: ScoredImpressions, *k: int) -> NDArray[np.float64]:
        """The function's values, ``[impressions]``, or ``[]`` for one overall number."""
        if not len(scored.users):  # such as no clicks on cold articles
            return np.empty(0)
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN: no value
            values = np.asarray(self.function(scored, *k), np.float64)
        if values.shape not in ((), scored.users.shape):
            raise ValueError(
                f"The metric {self.key} expects to return a value for each of the "
                f"{len(scored.users)} impressions, or one number, got the shape {values.shape}. "
                "Sum over the candidates of an impression with its argument's sum()."
            )
        return values


class ImpressionCount(ImpressionMetric):
    """Numbers of evaluated and of skipped impressions."""

    def of_each_impression(self, evaluated: ScoredImpressions) -> dict[str, Any]:
        """Empty: it has no value of an impression."""
        return {}

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Totals instead of averages."""
        ranked = dataobject.get(EVALUATED).ranked
        return {"impressions": len(ranked.clicked), SKIPPED: ranked.skipped}


def _metric(
    name: str,
    key: str,
    measure: Callable[..., Any],
    base: type[ImpressionMetric] = ImpressionMetric,
    **attributes: bool,
) -> type[ImpressionMetric]:
    own = {"key": key, "measure": staticmethod(measure), "__doc__": measure.__doc__}
    return type(name, (base,), {"__module__": __name__, **attributes, **own})


# By lower-case name in the setting `metrics`. RecBole's own metrics differ: AUC pools all rows, MRR
# counts only the first click, NDCG needs a user by item matrix.
METRICS: dict[str, type[ImpressionMetric]] = {
    metric.key: metric
    for metric in (
        _metric("ImpressionAUC", "auc", metrics.auc),
        _metric("ImpressionMRR", "mrr", metrics.mrr),
        _metric("ImpressionNDCG", "ndcg", metrics.ndcg, at_k=True),
        _metric("ImpressionRecall", "recall", metrics.recall, at_k=True),
        _metric("ImpressionHit", "hit", metrics.hit, at_k=True),
        _metric("ImpressionPrecision", "precision", metrics.precision, at_k=True),
        _metric("ImpressionMAP", "map", metrics.average_precision, at_k=True),
        _metric("UserGAUC", "gauc", metrics.gauc, ScoredMetric),
        _metric("CategoryDiversity", "diversity", beyond.diversity, ArticleMetric),
        _metric("CategoryCoverage", "coverage", beyond.coverage, ArticleMetric),
        _metric(
            "CategoryCalibration", "calibration", beyond.calibration, ArticleMetric, smaller=True
        ),
        _metric("ClickNovelty", "novelty", beyond.novelty, ArticleMetric),
        _metric("ColdShare", "cold_share", beyond.cold_share, ArticleMetric),
        _metric("ImpressionAccuracy", "accuracy", metrics.accuracy),
    )
}
COUNT_METRIC = ImpressionCount.__name__


def metric_of(result: str) -> type[ImpressionMetric] | None:
    """The class that computes a result such as ``recall@5``; None if there is none."""
    return METRICS.get(result.lower().partition("@")[0])


def bigger_is_better(result: str) -> bool:
    """Whether higher values of a result such as ``auc`` are better."""
    metric = metric_of(result)
    return metric is None or not metric.smaller


def needs_clicks(result: str) -> bool:
    """Whether a result may choose the best epoch: an untrained model is the most diverse."""
    metric = metric_of(result)
    return metric is not None and not issubclass(metric, ArticleMetric)


def results_of(names: Iterable[str], topk: Iterable[int]) -> list[str]:
    """Names of the metrics' results, such as ``auc`` and ``ndcg@5``."""
    ks = list(topk)
    return [
        result
        for name in names
        for result in ([f"{name}@{k}" for k in ks] if METRICS[name].at_k else [name])
    ]


def computing(result: str, names: Any, topk: Any) -> dict[str, Any]:
    """``metrics`` and ``topk`` with what computes a result too; empty if it is computed already."""
    asked, ks = _lower(names), _as_list(topk)
    if result.lower() in results_of([name for name in asked if name in METRICS], ks):
        return {}
    name, _, k = result.partition("@")
    return {"metrics": [*asked, name], "topk": sorted({*ks, *([int(k)] if k else [])})}


def register_metrics(added: Iterable[type[ImpressionMetric]] | None = None) -> None:
    """Add metrics, by default all, to RecBole's registry before a ``Config`` is built."""
    classes = [*METRICS.values(), ImpressionCount] if added is None else added
    named: dict[str, Any] = {metric.__name__.lower(): metric for metric in classes}
    for name, metric in named.items():
        present = register.metrics_dict.get(name, metric)
        if present is not metric and not issubclass(present, OwnMetric):  # one may be redefined
            raise ValueError(
                f"register_metrics: '{name}' must be free in RecBole's registry, got it for "
                f"{metric.__module__}.{metric.__name__}, and it is "
                f"{present.__module__}.{present.__name__}. Rename the class."
            )
    register.metrics_dict.update(named)
    register.metric_information.update({n: list(m.metric_need) for n, m in named.items()})
    register.metric_types.update({name: metric.metric_type for name, metric in named.items()})
    register.smaller_metrics += [
        name for name, m in named.items() if m.smaller and name not in register.smaller_metrics
    ]


def map_metrics(
    final: dict[str, Any], of_stages: Mapping[str, dict[str, Any]], results: list[str]
) -> Iterator[str]:
    """Replace ``metrics`` by our classes, append to ``results``; yield mistakes in the settings."""
    named = {"": final["metrics"]} | {
        f"{stage}_": own["metrics"] for stage, own in of_stages.items() if own.get("metrics")
    }
    for prefix, names in named.items():
        if not set(_lower(names)) <= METRICS.keys() or not names:
            choices = ", ".join(METRICS).upper()
            yield (
                f"{prefix}metrics expects some of {choices}, computed for each impression, "
                f"got {brief(names)}"
            )
            return
    register_metrics()
    of_final = _lower(final["metrics"])
    results += results_of(of_final, _as_list(final["topk"]))
    final["metrics"] = [*(METRICS[name].__name__ for name in of_final), COUNT_METRIC]
    for own in of_stages.values():
        if own.get("metrics"):
            further = [name for name in _lower(own["metrics"]) if name not in of_final]
            own["metrics"] = [*(METRICS[name].__name__ for name in further), *final["metrics"]]
    decisive = [result for result in results if needs_clicks(result)]
    choices = ", ".join(decisive) or "the results of a metric of clicks, such as AUC"
    for prefix, values in [("", final), *((f"{stage}_", own) for stage, own in of_stages.items())]:
        value = values.get("valid_metric")
        if "valid_metric" in values and str(value).lower() not in decisive:
            yield f"{prefix}valid_metric expects one of {choices} (see metrics, topk), got {value}"


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _lower(names: Any) -> list[str]:
    return list(dict.fromkeys(str(name).lower() for name in _as_list(names)))


# impressions with clicks, without labels, without unclicked candidates
_MADE_UP = ScoredImpressions(
    np.array([0.3, 0.2, 0.1, 0.5, 0.4, 0.6]),
    np.array([0, 1, 0, -1, -1, 1], np.int8),
    np.array([0, 3, 5, 6]),
    np.array([1, 2, 1]),
)


def impression_metric(
    function: Any = None, *, at_k: bool = False, smaller_is_better: bool = False
) -> Any:
    """Register a function as a metric, for ``metrics: [AUC, its_name]`` and ``valid_metric``.

    It receives the ``ScoredImpressions`` of an evaluation and returns a value for each impression,
    averaged without NaN, or one overall number; it is first tried on three made-up impressions. Its
    lower-case name becomes the metric's; redefining it, as in a notebook, replaces it. With
    ``at_k`` it is called with ``(impressions, k)`` for each k of ``topk``, for ``name@k``. Early
    stopping looks for the largest value unless ``smaller_is_better``. Raises ``ValueError`` if the
    name is taken, or the function returns another shape.
    """
    if function is None:
        return lambda given: _register(given, at_k, smaller_is_better)
    return _register(function, at_k, smaller_is_better)


def is_own(result: str) -> bool:
    """Whether a user's function computes a result such as ``its_name@5``."""
    metric = metric_of(result)
    return metric is not None and issubclass(metric, OwnMetric)


def files_of_metric(result: str) -> list[Path]:
    """The file of the user's function behind a result; empty for the package's metrics."""
    metric = metric_of(result)
    file = Path(_file_of(metric.function)) if metric and issubclass(metric, OwnMetric) else Path()
    return [file] if file.is_file() else []


def _register(function: Function, at_k: bool, smaller_is_better: bool) -> Function:
    name = function.__name__.lower()
    if not name.isidentifier() or is_count(name):
        raise ValueError(
            f"impression_metric expects a function with a name of its own, got {name}. Define it "
            "with def, under a name that is neither impressions nor tokens and does not begin "
            f"with {SKIPPED}: results have such counts."
        )
    present = METRICS.get(name)
    if present is not None and not (
        issubclass(present, OwnMetric) and _is_same(present.function, function)
    ):
        raise ValueError(
            f"impression_metric expects a name that no other metric has, got {name}. Taken are "
            f"{', '.join(METRICS)}. Rename the function."
        )
    attributes = {
        "key": name,
        "function": staticmethod(function),
        "at_k": at_k,
        "smaller": smaller_is_better,
        "__doc__": function.__doc__,
    }
    metric = type(f"Own_{name}", (OwnMetric,), attributes)
    metric({"topk": [1, 2], "metric_decimal_place": 4}).by_key(_MADE_UP)
    METRICS[name] = metric
    return function


def _is_same(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    return one.__module__ == other.__module__ or _file_of(one) == _file_of(other)


def _file_of(function: Callable[..., Any]) -> str:
    return getattr(getattr(function, "__code__", None), "co_filename", "")
