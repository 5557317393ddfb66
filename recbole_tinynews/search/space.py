"""The search space: settings and their values, from a yaml file.

``learning_rate: {log: [1.e-5, 1.e-3]}``, ``plm_dropout: {uniform: [0, 0.3]}``,
``negatives: {int: [1, 8]}``, ``num_teachers: [1, 2, 4]``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.settings.table import Affects, parse_key, setting
from recbole_tinynews.settings.values import refuse

Space = dict[str, BaseDistribution]

FORMS = (
    "a list of values, {uniform: [low, high]}, {log: [low, high]} or {int: [low, high]}, the "
    "first and the last with an optional step:"
)
_LOGUNIFORM = "loguniform"  # hyperopt's and RecBole's name
_STEP = "step"
# trials with different values could not be compared
_SAME_FOR_ALL = frozenset(
    ("dataset", "metrics", "topk", "valid_metric", "metric_decimal_place", "eval_args")
)


def make_space(
    described: Mapping[str, Any], source: str, config: NewsConfig, fixed: Collection[str]
) -> Space:
    """The distribution of each setting; ``ValueError`` lists all mistakes of ``source``."""
    space: Space = {}
    mistakes = [] if described else ["it names no setting"]
    for name, values in described.items():
        try:
            _check_name(name, config, fixed)
            space[name] = _distribution(values)
            for value in _samples(space[name]):
                if mistake_of_value := config.mistake_of(name, value):
                    raise ValueError(mistake_of_value)
        except ValueError as mistake:
            mistakes.append(f"{name} {mistake}")
    refuse(f"{source} is no space for {config['model']}:", mistakes)
    return space


def _check_name(name: str, config: NewsConfig, fixed: Collection[str]) -> None:
    plain = parse_key(name, config.stage_names).name
    if name in fixed:
        raise ValueError("is on the command line too, which would fix it. Leave it out of one")
    if name in _SAME_FOR_ALL:
        raise ValueError("expects one value for all trials, by which they are compared")
    if plain == "seed":
        raise ValueError("is no setting to search: the best of several seeds is the luckiest")
    if setting(plain).affects is Affects.NOTHING:
        raise ValueError("changes no result. Give it on the command line")


def _distribution(values: Any) -> BaseDistribution:
    if isinstance(values, list):
        return _choice(values)
    kinds = values.keys() - {_STEP} if isinstance(values, Mapping) else set()
    if kinds == {_LOGUNIFORM}:
        raise ValueError(
            "expects {log: [low, high]} with the values themselves, got "
            f"{_LOGUNIFORM}, which has their logarithms in RecBole's HyperTuning"
        )
    if len(kinds) != 1 or not kinds <= {"uniform", "log", "int"}:
        raise ValueError(f"expects {FORMS}, got {values!r}")
    (kind,) = kinds
    return _range(kind, values[kind], values.get(_STEP))


def _choice(values: list[Any]) -> CategoricalDistribution:
    plain = all(value is None or isinstance(value, (bool, int, float, str)) for value in values)
    distinct = {(type(value), value) for value in values} if plain else set()
    if len(distinct) < max(2, len(values)):
        raise ValueError(
            f"expects at least two different values, none of them a list or mapping, got {values}"
        )
    return CategoricalDistribution(values)


def _range(kind: str, ends: Any, step: Any) -> BaseDistribution:
    whole = kind == "int"
    positive = " above 0" if kind == "log" else ""
    if (
        not isinstance(ends, list)
        or len(ends) != 2
        or not all(_is_number(end, whole) for end in ends)
        or ends[0] >= ends[1]
        or (positive and ends[0] <= 0)
    ):
        numbers = "whole numbers" if whole else "numbers"
        raise ValueError(
            f"expects {{{kind}: [low, high]}} with low < high, {numbers}{positive}, got {ends!r}"
        )
    low, high = ends
    if kind == "log" and step is not None:
        raise ValueError(f"expects no step beside log, got {step!r}")
    if step is not None and not (_is_number(step, whole) and 0 < step <= high - low):
        raise ValueError(f"expects a step above 0 and up to {high - low}, got {step!r}")
    if whole:
        return IntDistribution(low, high, step=step or 1)
    return FloatDistribution(float(low), float(high), log=kind == "log", step=step)


def _is_number(value: Any, whole: bool) -> bool:
    kinds = int if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)


def _samples(distribution: BaseDistribution) -> Iterator[Any]:
    """Values to validate: all choices, or the ends of a range and one value between."""
    if isinstance(distribution, CategoricalDistribution):
        yield from distribution.choices
    elif isinstance(distribution, (FloatDistribution, IntDistribution)):
        yield from (distribution.low, distribution.high)
        if isinstance(distribution, FloatDistribution):
            yield distribution.low + (
                distribution.step or (distribution.high - distribution.low) / math.pi
            )
