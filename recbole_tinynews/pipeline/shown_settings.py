"""The settings of a run for its log: those that differ from their defaults, or all."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from recbole.utils import set_color

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.pipeline.text_table import text_table

ALL = "all"  # a value of show_settings
_LONGEST = 34  # characters of a cell, so that a line has a hundred
_IN_HEAD = ("model", "dataset", "show_settings")


def shown_settings(config: NewsConfig, stages: Collection[str]) -> str:
    """The settings that differ from their defaults, and where from; after them all, if asked for.

    Those given last, which override the others, come first.

    Args:
        config: the settings of the run.
        stages: names of its stages; what is set for other ones is left out.
    """
    head = f"{config['model']} on {config['dataset']}, seed {config['seed']}, {config['device']}"
    rows = []
    for key, value, default, source in config.changed_settings():
        if key.name not in _IN_HEAD and key.stage in (None, *stages):
            usual = f"as {key.name}" if key.stage and default is None else _cell(default)
            rows.append([str(key), _cell(value), usual, _short(source)])
    told = "All settings have their defaults"
    if rows:
        table = text_table([["setting", "value", "default", "set by"], *rows])
        told = f"Settings that differ from their defaults; all: --show_settings=all\n{table}"
    shown = f"{set_color(head, 'pink')}\n{told}"
    return f"{shown}\n{config}" if config["show_settings"] == ALL else shown


def _cell(value: Any) -> str:
    text = "~" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _short(source: str) -> str:
    """A source of settings; of the package's own files, the name alone."""
    file = Path(source.removeprefix("file "))
    return file.name if packaged_folder("properties") in file.parents else str(file)
