"""Rules for the values of settings, and messages for invalid values."""

from __future__ import annotations

import difflib
import os
import reprlib
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

MOST = 2**31 - 1
_LONGEST_NAME = 100  # characters that are compared to find similar names
_LARGEST = 1e15  # fits into float32 and int64
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother, _BRIEF.maxlong = 4, 100, 100, 100
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = 20


def brief(value: Any) -> str:
    """``repr`` for a message, with long or nested values truncated.

    >>> brief([1, "a"]), len(brief("a" * 5_000))
    ("[1, 'a']", 100)
    """
    return _BRIEF.repr(value)


class Rule(NamedTuple):
    """Accepted values, as a description and a predicate."""

    expected: str
    holds: Callable[[Any], bool]
    choices: tuple[Any, ...] = ()


def one_of(*choices: Any) -> Rule:
    """One of the listed values; ``1`` does not match ``True``."""
    return Rule(
        f"one of {', '.join(shown(choice) for choice in choices)}",
        lambda value: any(value == each and type(value) is type(each) for each in choices),
        choices,
    )


def _word_of(*choices: str) -> Rule:
    words = one_of(*choices)
    return words._replace(holds=lambda value: isinstance(value, str) and value.lower() in choices)


def an_int(at_least: int, at_most: int = MOST) -> Rule:
    """An int from ``at_least`` to ``at_most``, by default the 32-bit maximum."""
    bounds = f">= {at_least}" if at_most == MOST else f"from {at_least} to {at_most:,}"
    return Rule(f"an int {bounds}", lambda value: _is_int(value) and at_least <= value <= at_most)


def list_of(rule: Rule, may_be_empty: bool = False) -> Rule:
    """A list of values that satisfy the rule."""
    return Rule(
        f"a list of {rule.expected}" + ("" if may_be_empty else ", not empty"),
        lambda value: (
            isinstance(value, list)
            and all(map(rule.holds, value))
            and (may_be_empty or value != [])
        ),
    )


def or_(rule: Rule, *others: Any) -> Rule:
    """A value that satisfies the rule, or one of the others."""
    alternatives = one_of(*others)
    return Rule(
        f"{rule.expected} or {', '.join(shown(other) for other in others)}",
        lambda value: rule.holds(value) or alternatives.holds(value),
        others,
    )


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (_is_int(value) or isinstance(value, float)) and abs(value) < _LARGEST


def shown(value: Any) -> str:
    """A value as yaml."""
    if value is None:
        return "~"
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


POSITIVE = an_int(1)
COUNT = an_int(0)
# tensor sizes: larger ones are mistakes that would exhaust memory
SIZE = an_int(1, 65_536)
HISTORY_LENGTH = an_int(1, 10_000)
NEGATIVES = an_int(1, 10_000)
LAYERS = an_int(1, 1_000)
WORKERS = an_int(0, max(16, 4 * (os.cpu_count() or 1)))  # more cost more time than they save
DECIMAL_PLACES = an_int(1, 15)  # 0 would make all metrics equal; a float has no more
NUMBER = Rule("a number", _is_number)
NOT_NEGATIVE = Rule(
    f"a number >= 0 and < {_LARGEST:g}", lambda value: _is_number(value) and value >= 0
)
ABOVE_ZERO = Rule(f"a number > 0 and < {_LARGEST:g}", lambda value: _is_number(value) and value > 0)
SHARE = Rule("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
PROBABILITY = Rule("a number >= 0 and < 1", lambda value: _is_number(value) and 0 <= value < 1)
ANY_TEXT = Rule("text, which may be empty", lambda value: isinstance(value, str))
TEXT = Rule("text", lambda value: isinstance(value, str) and bool(value.strip()))

_TEXTS, _CATEGORIES = ("title", "abstract", "body"), ("category", "subcategory")


def _are_views(value: Any) -> bool:
    known = isinstance(value, list) and all(each in _TEXTS + _CATEGORIES for each in value)
    return known and len({*value}) == len(value) and not {*value}.isdisjoint(_TEXTS)


VIEWS = Rule(
    f"a list of some of {', '.join(_TEXTS + _CATEGORIES)}, each once, a text among them", _are_views
)


PLACE = Rule("the name of a file or folder", TEXT.holds)
ZIP_FILE = Rule(
    "a file name that ends in .zip", lambda value: PLACE.holds(value) and value.endswith(".zip")
)
_CUTOFF = an_int(1, 1_000)  # beyond an impression's candidates, all are equal


def _are_cutoffs(value: Any) -> bool:
    each = value if isinstance(value, list) else [value]
    return each != [] and all(map(_CUTOFF.holds, each)) and len({*each}) == len(each)


CUTOFFS = Rule(f"{_CUTOFF.expected} or a list of them, each once", _are_cutoffs)


def _are_windows(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or not value:
        return False
    hours = value[:-1] if value[-1] is None else value
    return all(map(ABOVE_ZERO.holds, hours)) and all(a < b for a, b in pairwise(hours))


WINDOWS = Rule("a list of ascending hours above 0, perhaps with ~ at its end", _are_windows)
MAPPING = Rule("a mapping {name: value}", lambda value: isinstance(value, Mapping))
RERANKERS = list_of(  # `ReRanking` checks the rest
    Rule("already_read or {name: value}", lambda each: isinstance(each, (str, Mapping))), True
)
LEVEL = _word_of("debug", "info", "warning", "error", "critical")


def _are_devices(value: Any) -> bool:
    each = value if isinstance(value, (list, tuple)) else str(value).split(",")
    return value in (None, "") or all(_is_int(n) or str(n).strip().isdigit() for n in each)


DEVICES = Rule("numbers of GPUs, such as 0 or 0,1, or ~ for none", _are_devices)


def _is_clipping(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return value is None or ABOVE_ZERO.holds(value)
    known = value.keys() <= {"max_norm", "norm_type"}
    return known and all(map(ABOVE_ZERO.holds, value.values())) and "max_norm" in value


CLIPPING = Rule(
    "a number > 0, {max_norm: a number > 0, norm_type: a number > 0} or ~", _is_clipping
)


_LABELED = ("labeled", {"valid": "labeled", "test": "labeled"})  # RecBole knows both forms
EVALUATION = Rule(
    "{mode: labeled}, as impressions are ranked by their own labels",
    lambda value: isinstance(value, Mapping) and value.get("mode") in _LABELED,
)
# RecBole silently uses Adam for any other name; its sparse_adam trains none of its models, nor ours
LEARNER = _word_of("adam", "adamw", "sgd", "adagrad", "rmsprop")
SWITCH = Rule("true or false", lambda value: isinstance(value, bool))


def _are_samples(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return value is None
    entries = {"distribution", "sample_num", "alpha", "dynamic", "candidate_num"}  # RecBole's
    chosen = not value.get("dynamic") or NEGATIVES.holds(value.get("candidate_num"))
    known = value.get("distribution", "uniform") in ("uniform", "popularity", None)
    power = NUMBER.holds(value.get("alpha", 1.0)) and SWITCH.holds(value.get("dynamic", False))
    samples = NEGATIVES.holds(value.get("sample_num", 1))
    return value.keys() <= entries and known and chosen and power and samples


SAMPLES = Rule(
    "~ or a distribution (uniform, popularity) with a sample_num >= 1, and a candidate_num >= 1 "
    "where dynamic is true",
    _are_samples,
)

# By the default's type, for settings without their own rule. A default of 1 also allows 0.5.
_NUMBER = or_(Rule("a number", lambda value: isinstance(value, float) or _is_int(value)), None)
_KINDS: Mapping[type, Rule] = {bool: or_(SWITCH, None), int: _NUMBER, float: _NUMBER}


def rule_by_default(default: Any) -> Rule | None:
    """Rule of a setting that has none of its own; None: any value is valid."""
    return _KINDS.get(type(default))


def suggest(name: str, known: Iterable[str]) -> str:
    """A suggestion of the nearest name, with a leading space, or an empty string.

    >>> suggest("plmnr", ["PLMNR", "TinyBERT"]), suggest("zzz", ["PLMNR"])
    (' Did you mean PLMNR?', '')
    """
    by_lower = {each.lower(): each for each in known}
    nearest = difflib.get_close_matches(name.lower()[:_LONGEST_NAME], by_lower, n=1)
    return f" Did you mean {by_lower[nearest[0]]}?" if nearest else ""


def refuse(head: str, mistakes: Iterable[str]) -> None:
    """Raise ``ValueError`` with ``head`` and a list of the distinct mistakes, if there are any."""
    if found := dict.fromkeys(mistakes):
        raise ValueError("\n- ".join([head, *found]))


def unfit(rule: Rule | None, value: Any) -> str | None:
    """Error message for a value that the rule does not accept; None if it is valid."""
    if rule is None or rule.holds(value):
        return None
    words = [choice for choice in rule.choices if isinstance(choice, str)]
    hint = suggest(value, words) if isinstance(value, str) else ""
    return f"expects {rule.expected}, got {brief(value)}{hint and '.' + hint}"


def rule_of_recbole(name: str, default: Any) -> Rule | None:
    """Rule of a setting of RecBole's own models by name and default; None: any value is valid.

    >>> rule_of_recbole("hidden_size", 64).expected, rule_of_recbole("dropout_prob", 0).expected
    ('an int >= 0', 'a number >= 0 and < 1')
    """
    if isinstance(default, list):
        of_first = rule_of_recbole(name, default[0]) if default else None
        return of_first and list_of(of_first)
    if "drop" in name:
        return PROBABILITY
    if name in ("negative_weight", "resolution", "w_max"):  # defaults are ints, others need not be
        return NUMBER
    kinds = {bool: SWITCH, int: COUNT, float: NUMBER, str: ANY_TEXT, dict: MAPPING}
    rule = kinds.get(type(default))
    return rule if rule is None or rule.holds(default) else NUMBER  # below 0
