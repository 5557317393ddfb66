"""Settings that RecBole has and a model does not read: they are named, and change nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from recbole_tinynews.settings.layers import Layer
from recbole_tinynews.settings.names import split_stage

EVALUATION = "eval_args"  # of which only the mode is read


def drop_unread(
    final: dict[str, Any],
    defaults: Mapping[str, Any],
    layers: Iterable[Layer],
    unread: Collection[str],
    stages: Collection[str],
) -> Iterator[str]:
    """Put the defaults in place of what is not read, and yield a warning for each.

    A yaml that was written for RecBole may have such settings, so they are no mistakes; but they
    would be in fingerprints, and what is trained already would be trained again.

    Args:
        final: the settings of the run; changed.
        defaults: their values without the user's.
        layers: values by source.
        unread: plain names of the settings that the model does not read.
        stages: those that can have settings of their own.
    """
    sources = {name: layer.source for layer in layers for name in layer.values}
    for name in list(final):
        if split_stage(name, stages)[1] not in unread:
            continue
        given, default = final[name], defaults.get(name)
        if given != default:
            yield f"{name} ({sources.get(name, 'default')}) has no effect, got {given!r:.100}"
        if name in defaults:
            final[name] = default
        else:
            del final[name]


def keep_mode_alone(final: dict[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    """Put the defaults in place of the entries of ``eval_args`` that say how to split a table."""
    given, default = final[EVALUATION], defaults[EVALUATION]
    unread = [k for k, v in given.items() if k != "mode" and v != default.get(k)]
    if unread:
        yield f"{EVALUATION} has no effect but by its mode, got {', '.join(map(str, unread))} too"
    final[EVALUATION] = dict(default)
