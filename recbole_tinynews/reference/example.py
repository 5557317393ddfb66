"""An example of a setting: a value that its rule allows, as the command line takes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from recbole_tinynews.settings.values import Rule


def as_yaml(value: Any) -> str:
    """A value as the command line takes it."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


def example_value(default: Any, rule: Rule | None, told: Iterable[Any] = ()) -> Any:
    """A value that a rule allows; another one than the default where there is one.

    Args:
        default: the usual one.
        rule: what is allowed; ``None``: anything.
        told: values that stages or data sets have, which are preferred.
    """
    if rule is None:
        return default
    allowed = [value for value in (*told, *_candidates(default, rule.choices)) if rule.holds(value)]
    other = [value for value in allowed if value != default or type(value) is not type(default)]
    return next(iter([*other, *allowed]), default)


def _candidates(default: Any, choices: Iterable[Any]) -> Iterator[Any]:
    yield from (choice for choice in choices if choice is not None)
    if isinstance(default, bool):
        yield not default
    elif isinstance(default, (int, float)):
        yield from (default * 2, default + 1, default / 2)
    elif isinstance(default, list):
        yield default[:1]
    yield from (2, 0.5, True, "name", "folder/file", "file.zip", {"max_norm": 1.0})
    yield from (default, [5], {"mode": "labeled"})
