"""Validate the names and values of a command before torch is imported, which takes seconds."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_tinynews.reference.defaults import defaults_of, news_yaml
from recbole_tinynews.registry import MODELS, check_name, named_files
from recbole_tinynews.settings.declared import Models
from recbole_tinynews.settings.layering import DEFAULT_MODEL, Layering
from recbole_tinynews.settings.layers import Files, read_given
from recbole_tinynews.settings.mistakes import mistakes_by_key
from recbole_tinynews.settings.values import refuse


def check_command(model: str | None, files: Files, command_line: Sequence[str]) -> None:
    """Raise ``ValueError`` listing all unknown names and invalid values that no data decide."""
    given = read_given(files, None, command_line)
    name = str(model or given.values.get("model") or DEFAULT_MODEL)
    check_name(name)
    ours, found = name in MODELS, list(given.mistakes)
    declared, stages = dict(defaults_of(name)), news_yaml(name).stages if ours else {}
    kind = Models.NEWS if ours else Models.RECBOLE_ON_IMPRESSIONS
    settings = Layering(kind, named_files(name), declared, {}, given.values, stages)
    settings.finish(given.layers(stages))
    found += mistakes_by_key(given.switches, settings, settings.values)
    refuse(f"The settings of {name} don't fit:", found)
