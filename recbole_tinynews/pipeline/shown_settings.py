"""Settings in the log of a run: all, or those that differ from their defaults."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from recbole.utils import set_color

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.pipeline.text_table import text_table

ALL = "all"  # a value of show_settings
_LONGEST = 34  # characters per cell, for lines of a hundred
_IN_HEAD = ("model", "dataset", "show_settings")


def shown_settings(config: NewsConfig, stages: Collection[str]) -> str:
    """Non-default settings of these stages with sources, strongest first; then all if requested."""
    head = f"{config['model']} on {config['dataset']}, seed {config['seed']}, {config['device']}"
    rows = []
    for key, value, default, source in config.changed_settings():
        if key.name not in _IN_HEAD and key.stage in (None, *stages):
            usual = f"as {key.name}" if key.stage and default is None else _cell(default)
            rows.append([str(key), _cell(value), usual, _short(source)])
    text = "All settings have their defaults"
    if rows:
        table = text_table([["setting", "value", "default", "set by"], *rows])
        text = f"Settings that differ from their defaults; all: --show_settings=all\n{table}"
    shown = f"{set_color(head, 'pink')}\n{text}"
    return f"{shown}\n{config}" if config["show_settings"] == ALL else shown


def _cell(value: Any) -> str:
    text = "~" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _short(source: str) -> str:
    """A source of settings; files of the package without folder."""
    file = Path(source.removeprefix("file "))
    return file.name if packaged_folder("properties") in file.parents else str(file)
