"""Rules for the values of settings, and messages for values that break them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What a setting expects, in words and as a test."""

    expected: str
    holds: Callable[[Any], bool]
    choices: tuple[Any, ...] = ()


def one_of(*choices: Any) -> Rule:
    """One of the listed words or values; ``1`` is not taken for ``True``."""
    return Rule(
        f"one of {', '.join(_show(choice) for choice in choices)}",
        lambda value: any(value == each and type(value) is type(each) for each in choices),
        choices,
    )


def an_int(at_least: int) -> Rule:
    """An int that is ``at_least`` or more."""
    return Rule(f"an int >= {at_least}", lambda value: _is_int(value) and value >= at_least)


def or_(rule: Rule, *others: Any) -> Rule:
    """What the rule allows, or one of the other values."""
    beside = one_of(*others)
    return Rule(
        f"{rule.expected} or {', '.join(_show(other) for other in others)}",
        lambda value: rule.holds(value) or beside.holds(value),
        others,
    )


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (_is_int(value) or isinstance(value, float)) and math.isfinite(value)


def _show(value: Any) -> str:
    if value is None:
        return "~"
    return str(value).lower() if isinstance(value, bool) else str(value)


POSITIVE = an_int(1)
COUNT = an_int(0)
NOT_NEGATIVE = Rule("a number >= 0", lambda value: _is_number(value) and value >= 0)
ABOVE_ZERO = Rule("a number > 0", lambda value: _is_number(value) and value > 0)
SHARE = Rule("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
PROBABILITY = Rule("a number >= 0 and < 1", lambda value: _is_number(value) and 0 <= value < 1)
ANY_TEXT = Rule("text, which may be empty", lambda value: isinstance(value, str))
TEXT = Rule("text", lambda value: isinstance(value, str) and bool(value.strip()))
ZIP_FILE = Rule("a file name that ends in .zip", lambda value: str(value).endswith(".zip"))
CUTOFFS = Rule(
    "an int >= 1 or a list of them",
    lambda value: (
        all(POSITIVE.holds(k) for k in (value if isinstance(value, list) else [value]))
        and value != []
    ),
)
_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")
LEARNER = Rule(
    f"one of {', '.join(_LEARNERS)}",  # RecBole silently trains with Adam under any other name
    lambda value: isinstance(value, str) and value.lower() in _LEARNERS,
    _LEARNERS,
)
SWITCH = Rule("true or false", lambda value: isinstance(value, bool))


def _are_samples(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return value is None
    chosen = not value.get("dynamic") or POSITIVE.holds(value.get("candidate_num"))
    known = value.get("distribution", "uniform") in ("uniform", "popularity", None)
    return known and chosen and POSITIVE.holds(value.get("sample_num", 1))


SAMPLES = Rule(
    "~ or a distribution (uniform, popularity) with a sample_num >= 1, and a candidate_num >= 1 "
    "where dynamic is true",
    _are_samples,
)

# For a setting without a rule, such as a user's: a value of its default's type, or none.
# `alpha: 1` is meant to take 0.5 as well.
_NUMBER = Rule("a number", lambda value: isinstance(value, float) or _is_int(value))
_KINDS: Mapping[type, Rule] = {
    bool: or_(SWITCH, None),
    int: or_(_NUMBER, None),
    float: or_(_NUMBER, None),
}


def unfit_value(name: str, value: Any, rules: Mapping[str, Rule], default: Any) -> str | None:
    """What is wrong with the value of the setting ``name``, or None where it fits."""
    rule = rules.get(name) or _KINDS.get(type(default))
    if rule is None or rule.holds(value):
        return None
    words = [choice for choice in rule.choices if isinstance(choice, str)]
    nearest = difflib.get_close_matches(str(value).lower(), words, n=1)
    hint = f". Did you mean {nearest[0]}?" if nearest else ""
    return f"expects {rule.expected}, got {value!r}{hint}"
