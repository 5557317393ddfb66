"""RecBole's hyperopt search, ``HyperTuning``, for models on impressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import recbole.trainer
import recbole.trainer.hyper_tuning as recboles

from recbole_tinynews import compat
from recbole_tinynews.config import NewsConfig
from recbole_tinynews.quick_start import run


class HyperTuning(recbole.trainer.HyperTuning):
    """RecBole's ``HyperTuning``, with an exhaustive search that works with current hyperopt."""

    def run(self) -> None:
        """Try all settings; plot them if ``display_file`` is set."""
        compat.apply()
        # RecBole passes a RandomState; hyperopt from 0.2.7 on expects a Generator
        random = SimpleNamespace(RandomState=np.random.default_rng)
        recboles.np = SimpleNamespace(**{**vars(np), "random": random})
        try:
            super().run()
        finally:
            recboles.np = np


def objective_function(
    config_dict: Mapping[str, Any] | None = None,
    config_file_list: Sequence[str | Path] | None = None,
) -> dict[str, Any]:
    """Train, validate and test one choice of settings, as RecBole's function of this name."""
    config = NewsConfig(config_file_list=config_file_list, config_dict=config_dict)
    result = run(config_file_list=config_file_list, config_dict=config_dict)
    return {
        "model": result["model"],
        "best_valid_score": result["valid"][config["valid_metric"].lower()],
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": result["valid"],
        "test_result": result["test"],
    }
