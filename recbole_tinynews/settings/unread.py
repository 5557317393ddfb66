"""RecBole's settings that a model ignores: setting one draws a warning."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from recbole_tinynews.settings.layering import Layering
from recbole_tinynews.settings.values import brief

EVALUATION = "eval_args"  # only its mode is read


def drop_unread(settings: Layering, unread: Collection[str]) -> Iterator[str]:
    """Reset settings that the model ignores; yield a warning for each changed one.

    Kept, they would change fingerprints and retrain finished stages.
    """
    values, defaults = settings.values, settings.before_user
    for key in [key for key in values if key.name in unread]:
        if values[key] != defaults.get(key):
            yield f"{key} ({settings.source_of(key)}) has no effect, got {brief(values[key])}"
        if key in defaults:
            values[key] = defaults[key]
        else:
            del values[key]


def keep_mode_alone(final: dict[str, Any], default: Mapping[str, Any]) -> Iterator[str]:
    """Reset the entries of ``eval_args`` other than its mode, with a warning."""
    unread = [k for k, v in final[EVALUATION].items() if k != "mode" and v != default.get(k)]
    if unread:
        yield f"{EVALUATION} has no effect but by its mode, got {', '.join(map(str, unread))} too"
    final[EVALUATION] = dict(default)
