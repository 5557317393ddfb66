"""The settings of a run for its log: those that differ from their defaults, or all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole.utils import set_color

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.pipeline.text_table import text_table

ALL = "all"  # a value of show_settings
_LONGEST = 34  # characters of a cell, so that a line has a hundred
_IN_HEAD = ("model", "dataset", "show_settings")


def shown_settings(config: NewsConfig) -> str:
    """The settings that differ from their defaults, and where from; after them all, if asked for.

    Those given last, which override the others, come first.
    """
    head = f"{config['model']} on {config['dataset']}, seed {config['seed']}, {config['device']}"
    rows = [
        [each.name, _cell(each.value), _cell(each.default), _short(each.source)]
        for each in config.changed_settings()
        if each.name not in _IN_HEAD
    ]
    told = f"{set_color(head, 'pink')}, settings by default (all: --show_settings=all)"
    if rows:
        table = text_table([["setting", "value", "default", "set by"], *rows])
        told = f"{set_color(head, 'pink')}, beside defaults (all: --show_settings=all):\n{table}"
    return f"{told}\n{config}" if config["show_settings"] == ALL else told


def _cell(value: Any) -> str:
    text = "~" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _short(source: str) -> str:
    """A source of settings; of the package's own files, the name alone."""
    file = Path(source.removeprefix("file "))
    return file.name if packaged_folder("properties") in file.parents else str(file)
