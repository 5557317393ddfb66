"""User-defined metrics: a function of scored impressions, registered under its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.evaluation.metrics import ScoredImpressions
from recbole_tinynews.evaluation.recbole_metrics import (
    METRICS,
    SKIPPED,
    ScoredMetric,
    is_count,
    metric_of,
)

Function = TypeVar("Function", bound=Callable[..., Any])
# impressions with clicks, without labels, without unclicked candidates
_MADE_UP = ScoredImpressions(
    np.array([0.3, 0.2, 0.1, 0.5, 0.4, 0.6]),
    np.array([0, 1, 0, -1, -1, 1], np.int8),
    np.array([0, 3, 5, 6]),
    np.array([1, 2, 1]),
)


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
    if present is None:
        METRICS[name] = metric
    else:  # the class is in RecBole's registry already
        for attribute, value in attributes.items():
            setattr(present, attribute, value)
    return function


def _is_same(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    return one.__module__ == other.__module__ or _file_of(one) == _file_of(other)


def _file_of(function: Callable[..., Any]) -> str:
    return getattr(getattr(function, "__code__", None), "co_filename", "")
