"""Settings without effect are named, and what is trained already is found with them."""

from __future__ import annotations

from typing import Any

import pytest
from tiny import Tiny, run_of

from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.systems import system

SAMPLES = {"distribution": "uniform", "sample_num": 3}


@pytest.mark.parametrize(
    "given",
    [
        {"train_neg_sample_args": SAMPLES},
        {"benchmark_filename": ["a", "b"]},
        {"repeatable": True},
        {"load_col": {"inter": ["user_id"]}},
        {"eval_args": {"mode": "labeled", "order": "RO", "split": {"LS": "valid_and_test"}}},
    ],
)
def test_a_setting_without_effect_is_named_and_leaves_the_fingerprint(
    tiny: Tiny, given: dict[str, Any]
) -> None:
    """A yaml written for RecBole trained every stage again, and said nothing."""
    usual, config = tiny.config("PLMNR"), tiny.config("PLMNR", **given)
    (name,) = given
    (warning,) = config.warnings
    assert usual.warnings == []
    assert warning.startswith(f"{name} ")
    assert "has no effect" in warning
    marks = [run_of(each).recipe(system(each)).fingerprint for each in (usual, config)]
    assert marks[0] == marks[1]


def test_what_recboles_models_read_has_an_effect_there(tiny: Tiny) -> None:
    """Their samplers read these settings: dropping them would train something else."""
    given = {"train_neg_sample_args": SAMPLES, "repeatable": True}
    config = NewsConfig("BPR", "tiny", config_dict=tiny.stock_settings(**given))
    assert config.warnings == []
    assert config["train_neg_sample_args"]["sample_num"] == 3
    assert config["repeatable"] is True
    assert NewsConfig(
        "BPR", "tiny", config_dict=tiny.stock_settings(alias_of_user_id=["user_id"])
    ).warnings
