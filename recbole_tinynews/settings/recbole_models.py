"""Rules for the settings of RecBole's models, derived from the defaults in their yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_tinynews.settings import values
from recbole_tinynews.settings.declared import Models, known_without_yaml, rules_for
from recbole_tinynews.settings.layers import ModelFiles
from recbole_tinynews.settings.literals import read_yaml
from recbole_tinynews.settings.values import Rule, list_of

_PROBABILITIES = ("dropout", "drop_ratio", "drop_prob")  # parts of names
_SIZES = ("size", "dim", "dimension", "rank", "heads", "channels", "kernels")  # last words of names
# ints that may be 0: a graph model without layers is matrix factorisation
_FROM_ZERO = ("n_layers", "context_norm", "use_proj_bias", "warm_up_step", "anneal_steps")
# floats whose defaults are written as ints
_NUMBERS = ("global_ratio", "spatial_ratio", "resolution", "negative_weight", "w_max")


def rules_of(kind: Models, files: ModelFiles) -> dict[str, Rule]:
    """Rules for all settings of a model, by name."""
    rules = rules_for(kind)
    if kind is Models.RECBOLE_ON_IMPRESSIONS:
        stock = [read_yaml(file) for file in files.own if file not in files.of_users]
        own = rules_by_default({name: v for of_file in stock for name, v in of_file.items()})
        general = rules.keys() - known_without_yaml(Models.OF_RECBOLE)
        rules |= {name: rule for name, rule in own.items() if name not in general}
    return rules


def rules_by_default(defaults: Mapping[str, Any]) -> dict[str, Rule]:
    """Rules by the type and name of each default; none for ~.

    >>> rules_by_default({"hidden_size": 64, "dropout_prob": 0, "fields": None}).keys()
    dict_keys(['hidden_size', 'dropout_prob'])
    """
    found = {name: _rule(name, default) for name, default in defaults.items()}
    if "n_heads" in defaults and "n_layers" in defaults:  # a transformer needs a layer
        found["n_layers"] = values.POSITIVE
    return {name: rule for name, rule in found.items() if rule is not None}


def _rule(name: str, default: Any) -> Rule | None:
    if isinstance(default, bool):
        return values.SWITCH
    if isinstance(default, (int, float)):
        return _number(name, default)
    if isinstance(default, str):
        return values.ANY_TEXT
    if isinstance(default, Mapping):
        return values.MAPPING
    if isinstance(default, list):
        each = _rule(name, default[0]) if default else None
        return each and list_of(each)
    return None


def _number(name: str, default: float) -> Rule:
    if any(part in name for part in _PROBABILITIES):
        return values.PROBABILITY
    if default < 0 or name == "margin":
        return values.NUMBER
    if isinstance(default, float) or name in _NUMBERS:
        return values.NOT_NEGATIVE
    if default == 0 or name in _FROM_ZERO:
        return values.COUNT
    return values.SIZE if name.rpartition("_")[2] in _SIZES else values.POSITIVE
