"""The search space, from a yaml file such as ``learning_rate: {log: [1.e-5, 1.e-3]}``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import isfinite, pi
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.settings.table import Affects, parse_key, setting
from recbole_tinynews.settings.values import refuse

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution

FORMS = (
    "a list of at least two values, {uniform: [low, high]}, {log: [low, high]} or "
    "{int: [low, high]}, the first and the last with an optional step:"
)
# trials with different values could not be compared
_SAME_FOR_ALL = ("dataset", "metrics", "topk", "valid_metric", "metric_decimal_place", "eval_args")


def make_space(
    described: Mapping[str, Any], source: str, config: NewsConfig, fixed: Collection[str]
) -> dict[str, Distribution]:
    """The distribution of each setting; ``ValueError`` lists all mistakes of ``source``."""
    space = {}
    mistakes = [] if described else ["it names no setting"]
    for name, values in described.items():
        try:
            _check_name(name, config, fixed)
            space[name] = _distribution(values)
            found = (config.mistake_of(name, value) for value in _samples(space[name]))
            mistakes += [f"{name} {mistake}" for mistake in found if mistake][:1]
        except (TypeError, ValueError) as mistake:
            mistakes.append(f"{name} {mistake}")
    refuse(f"{source} is no space for {config['model']}:", mistakes)
    return space


def draw(trial: Trial, name: str, values: Distribution) -> Any:
    """The trial's value of a setting."""
    if isinstance(values, CategoricalDistribution):
        return trial.suggest_categorical(name, values.choices)
    if isinstance(values, IntDistribution):
        return trial.suggest_int(name, values.low, values.high, step=values.step)
    return trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)


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


def _distribution(values: Any) -> Distribution:
    match values:
        case [_, _, *_]:
            return CategoricalDistribution(values)
        case {"uniform": [low, high], **rest} if rest.keys() <= {"step"} and isfinite(high - low):
            return FloatDistribution(low, high, step=values.get("step"))
        case {"log": [low, high], **rest} if not rest and isfinite(high - low):
            return FloatDistribution(low, high, log=True)
        case {"int": [int(low), int(high)], **rest} if rest.keys() <= {"step"}:
            return IntDistribution(low, high, step=values.get("step", 1))
    raise ValueError(f"expects {FORMS}, got {values!r}")


def _samples(values: Distribution) -> Sequence[Any]:
    """Values to validate: all choices, or the ends of a range and one value between."""
    if isinstance(values, CategoricalDistribution):
        return values.choices
    if isinstance(values, IntDistribution):
        return values.low, values.high
    between = values.step or (values.high - values.low) / pi
    return values.low, values.low + between, values.high
