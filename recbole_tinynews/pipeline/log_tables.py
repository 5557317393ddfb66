"""Tables in the log of a run: its settings at the start, its results at the end."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from recbole.utils import set_color
from tabulate import tabulate

from recbole_tinynews.evaluation.recbole_metrics import is_count
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.settings.run_settings import is_shipped

_LONGEST = 34  # characters per cell, for lines of a hundred
_IN_HEAD = ("model", "dataset")


def text_table(rows: Sequence[Sequence[str]], right: bool = False) -> str:
    """Aligned columns, one line per row; all but the first are right-aligned if ``right``.

    >>> print(text_table([["", "auc"], ["student", "0.7"]], right=True))
             auc
    student  0.7
    """
    aligned = ["left", *["right" if right else "left"] * (len(rows[0]) - 1)]
    text = tabulate(rows, tablefmt="plain", colalign=aligned, disable_numparse=True)
    return "\n".join(map(str.rstrip, text.splitlines()))


def shown_settings(config: NewsConfig, stages: Collection[str]) -> str:
    """Non-default settings of these stages with sources, strongest first."""
    head = f"{config['model']} on {config['dataset']}, seed {config['seed']}, {config['device']}"
    rows = []
    for key, value, default, source in config.changed_settings():
        if key.name not in _IN_HEAD and key.stage in (None, *stages):
            usual = f"as {key.name}" if key.stage and default is None else _cell(default)
            rows.append([str(key), _cell(value), usual, _short(source)])
    text = "All settings have their defaults"
    if rows:
        table = text_table([["setting", "value", "default", "set by"], *rows])
        text = f"Settings that differ from their defaults; all: --list-settings\n{table}"
    return f"{set_color(head, 'pink')}\n{text}"


def _cell(value: Any) -> str:
    text = "~" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _short(source: str) -> str:
    file = Path(source.removeprefix("file "))
    return file.name if is_shipped(file) else str(file)


def summary(result: Mapping[str, Any], oracle: Mapping[str, float]) -> str:
    """Test metrics, size and speed, one line per system; ``oracle`` may be empty."""
    metrics = [name for name in result["test"] if not is_count(name)]
    lines: list[tuple[str, Mapping[str, Any]]] = []
    if teachers := result.get("teachers"):
        tests = teachers["test"]
        mean = {name: fmean(test[name] for test in tests) for name in metrics if tests}
        several = f"{len(tests)} teachers, mean" if tests else "teachers"
        lines.append(("teacher" if len(tests) == 1 else several, {**teachers, **mean}))
    lines.append((result["model"], {**result, **result["test"]}))
    if oracle and metrics:
        lines.append(("oracle", oracle))
    head = ["", *metrics, "parameters", "news per second"]
    return text_table([head, *(_row(name, of, metrics) for name, of in lines)], right=True)


def in_one_line(slices: Mapping[str, Mapping[str, float]]) -> str:
    """First metric and number of impressions of each slice.

    >>> in_one_line({"0": {"auc": 0.5, "impressions": 3}, "1-5": {"auc": 0.625, "impressions": 9}})
    'auc 0: 0.5000 of 3, 1-5: 0.6250 of 9'
    """
    metric = next(iter(next(iter(slices.values()))))
    return f"{metric} " + ", ".join(
        f"{name}: {of[metric]:.4f} of {of['impressions']:,}" for name, of in slices.items()
    )


def oracle_of(data_set: Path) -> dict[str, float]:
    """Test metrics of ranking by true click probabilities, known for synthetic data."""
    file = data_set / f"{data_set.name}.oracle.json"
    return json.loads(file.read_text(encoding="utf-8"))["test"] if file.is_file() else {}


def _row(name: str, of: Mapping[str, Any], metrics: Sequence[str]) -> list[str]:
    cells = [f"{of[metric]:.4f}" if metric in of else "" for metric in metrics]
    size = f"{of['parameters']:,}" if "parameters" in of else ""
    speed = f"{of['news_per_second']:,.0f}" if of.get("news_per_second") is not None else ""
    return [name, *cells, size, speed]
