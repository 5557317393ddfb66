"""Example values of settings, as on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from recbole_tinynews.settings.literals import write_yaml
from recbole_tinynews.settings.values import Rule


def as_yaml(value: Any) -> str:
    """A value as written on the command line."""
    text = write_yaml(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


def example_value(default: Any, rule: Rule | None, preferred: Iterable[Any] = ()) -> Any:
    """A value that the rule (None: any) allows, if possible ``preferred`` and not the default."""
    if rule is None:
        return default
    candidates = (*preferred, *_candidates(default, rule.choices))
    allowed = [value for value in candidates if rule.holds(value)]
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
