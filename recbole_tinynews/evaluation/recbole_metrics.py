"""Per-impression metrics for RecBole's evaluator: registration, and the setting ``metrics``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from recbole.evaluator import register

from recbole_tinynews.evaluation import beyond_accuracy, top_k
from recbole_tinynews.evaluation.impression_metric import (
    RANKED_KEY,
    ArticleMetric,
    ImpressionMetric,
    ScoredMetric,
)
from recbole_tinynews.evaluation.metrics import accuracy, auc, mrr, ndcg
from recbole_tinynews.evaluation.scored import gauc
from recbole_tinynews.settings.values import brief


class ImpressionCount(ImpressionMetric):
    """Numbers of evaluated and of skipped impressions."""

    def of_each_impression(self, dataobject: Any) -> dict[str, Any]:
        """Empty: these are totals."""
        return {}

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Totals instead of averages."""
        ranked = dataobject.get(RANKED_KEY)
        return {"impressions": len(ranked.clicked), "skipped": ranked.skipped}


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
        _metric("ImpressionAUC", "auc", auc),
        _metric("ImpressionMRR", "mrr", mrr),
        _metric("ImpressionNDCG", "ndcg", ndcg, at_k=True),
        _metric("ImpressionRecall", "recall", top_k.recall, at_k=True),
        _metric("ImpressionHit", "hit", top_k.hit, at_k=True),
        _metric("ImpressionPrecision", "precision", top_k.precision, at_k=True),
        _metric("ImpressionMAP", "map", top_k.average_precision, at_k=True),
        _metric("UserGAUC", "gauc", gauc, ScoredMetric, overall=True),
        _metric("CategoryDiversity", "diversity", beyond_accuracy.diversity, ArticleMetric),
        _metric("CategoryCoverage", "coverage", beyond_accuracy.coverage, ArticleMetric),
        _metric(
            "CategoryCalibration",
            "calibration",
            beyond_accuracy.calibration,
            ArticleMetric,
            smaller=True,
        ),
        _metric("ClickNovelty", "novelty", beyond_accuracy.novelty, ArticleMetric),
        _metric("ColdShare", "cold_share", beyond_accuracy.cold_share, ArticleMetric),
        _metric("ImpressionAccuracy", "accuracy", accuracy),
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


def of_each_impression(result: str) -> bool:
    """Whether a result has a value for each impression; GAUC does not."""
    metric = metric_of(result)
    return metric is not None and metric is not METRICS["gauc"]


def results_of(names: Iterable[str], topk: Iterable[int]) -> list[str]:
    """Names of the metrics' results, such as ``auc`` and ``ndcg@5``."""
    ks = list(topk)
    return [
        result
        for name in names
        for result in ([f"{name}@{k}" for k in ks] if METRICS[name].at_k else [name])
    ]


def computing(result: str, metrics: Any, topk: Any) -> dict[str, Any]:
    """``metrics`` and ``topk`` with what computes a result too; empty if it is computed already."""
    names, ks = _lower(metrics), _as_list(topk)
    if result.lower() in results_of([name for name in names if name in METRICS], ks):
        return {}
    name, _, k = result.partition("@")
    return {"metrics": [*names, name], "topk": sorted({*ks, *([int(k)] if k else [])})}


def register_metrics(metrics: Iterable[type[ImpressionMetric]] | None = None) -> None:
    """Add metrics, by default all, to RecBole's registry before a ``Config`` is built."""
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


def map_metrics(
    final: dict[str, Any], of_stages: Mapping[str, dict[str, Any]], results: list[str]
) -> Iterator[str]:
    """Replace ``metrics`` by our classes, append to ``results``; yield mistakes in the settings."""
    named = {"": final["metrics"]} | {
        f"{stage}_": own["metrics"] for stage, own in of_stages.items() if own.get("metrics")
    }
    for prefix, metrics in named.items():
        if not set(_lower(metrics)) <= METRICS.keys() or not metrics:
            choices = ", ".join(METRICS).upper()
            yield (
                f"{prefix}metrics expects some of {choices}, computed for each impression, "
                f"got {brief(metrics)}"
            )
            return
    register_metrics()
    names = _lower(final["metrics"])
    results += results_of(names, _as_list(final["topk"]))
    final["metrics"] = [*(METRICS[name].__name__ for name in names), COUNT_METRIC]
    for own in of_stages.values():
        if own.get("metrics"):
            further = [name for name in _lower(own["metrics"]) if name not in names]
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
