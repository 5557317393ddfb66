"""Maps the settings ``metrics``, ``topk`` and ``valid_metric`` to our registered metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recbole_tinynews.evaluation.recbole_metrics import (
    COUNT_METRIC,
    METRICS,
    needs_clicks,
    register_metrics,
    results_of,
)
from recbole_tinynews.settings.values import brief

_SETTING = "metrics"


def map_metrics(
    final: dict[str, Any], of_stages: Mapping[str, dict[str, Any]], results: list[str]
) -> Iterator[str]:
    """Replace ``metrics`` by our classes; yield mistakes in it and in ``valid_metric``.

    Changes ``final`` and ``of_stages``; appends names such as ``ndcg@5`` to ``results``.
    """
    named = {"": final[_SETTING]} | {
        f"{stage}_": own[_SETTING] for stage, own in of_stages.items() if own.get(_SETTING)
    }
    for prefix, metrics in named.items():
        if not set(_lower(metrics)) <= METRICS.keys() or not metrics:
            choices = ", ".join(METRICS).upper()
            yield (
                f"{prefix}{_SETTING} expects some of {choices}, computed for each impression, "
                f"got {brief(metrics)}"
            )
            return
    register_metrics()
    names = _lower(final[_SETTING])
    results += results_of(names, _as_list(final["topk"]))
    final[_SETTING] = [*(METRICS[name].__name__ for name in names), COUNT_METRIC]
    for own in of_stages.values():
        if own.get(_SETTING):
            further = [name for name in _lower(own[_SETTING]) if name not in names]
            own[_SETTING] = [*(METRICS[name].__name__ for name in further), *final[_SETTING]]
    decisive = [result for result in results if needs_clicks(result)]
    choices = ", ".join(decisive) or "the results of a metric of clicks, such as AUC"
    for prefix, values in [("", final), *((f"{stage}_", own) for stage, own in of_stages.items())]:
        value = values.get("valid_metric")
        if "valid_metric" in values and str(value).lower() not in decisive:
            yield f"{prefix}valid_metric expects one of {choices} (see metrics, topk), got {value}"


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _lower(names: Any) -> list[str]:
    """The names in lower case, each once."""
    return list(dict.fromkeys(str(name).lower() for name in _as_list(names)))
