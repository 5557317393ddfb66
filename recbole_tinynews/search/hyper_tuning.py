"""The objective function of RecBole's ``HyperTuning``, for models on impressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.quick_start import run


def objective_function(
    config_dict: Mapping[str, Any] | None = None,
    config_file_list: Sequence[str | Path] | None = None,
) -> dict[str, Any]:
    """Train, validate and test with the settings that ``HyperTuning`` tries, as RecBole's does.

    Args:
        config_dict: the settings that are tried.
        config_file_list: files with those that stay, ``model`` and ``dataset`` among them.

    Returns:
        The five entries that ``HyperTuning`` reads.
    """
    config = NewsConfig(config_file_list=config_file_list, config_dict=config_dict)
    result = run(config_file_list=config_file_list, config_dict=config_dict)
    return {
        "model": result["model"],
        "best_valid_score": result["valid"][config["valid_metric"].lower()],
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": result["valid"],
        "test_result": result["test"],
    }
