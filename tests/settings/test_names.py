from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_tinynews.settings.layers import recbole_overall_settings
from recbole_tinynews.settings.table import (
    NAMES,
    Key,
    parse_key,
    unknown_setting,
)

STAGES = [
    "align_student",
    "finetune_teacher",
    "post_train_student",
    "post_train_teacher",
    "pretrain_teacher",
]
DECLARED = {"learning_rate": 1e-3, "epochs": 1, "topk": [5], "post_train_corpus": None}


@given(st.sampled_from([None, *STAGES]), st.sampled_from(sorted(NAMES)))
def test_a_setting_is_parsed_as_it_was_printed(stage: str | None, name: str) -> None:
    """Split at the wrong place, `post_train_corpus` would be an unknown setting of a stage."""
    key = Key(stage, name)
    assert parse_key(str(key), STAGES) == key


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("learnin_rate", "Did you mean learning_rate?"),
        ("learning-rate", "Did you mean learning_rate?"),
        ("finetune_teacher_epoch", "Did you mean finetune_teacher_epochs?"),
        ("finetune_techer_epochs", "Did you mean finetune_teacher_epochs?"),
        ("finetune_teacher_topk", "whole run, not for a stage. Set topk"),
        ("zzz", "Declare a new one in the yaml beside the model"),
    ],
)
def test_an_unknown_setting_is_answered_with_the_nearest_one(name: str, answer: str) -> None:
    """RecBole stores it and continues: with `learnin_rate: 9` it trains at 0.001."""
    assert answer in (unknown_setting(parse_key(name, STAGES), DECLARED, STAGES) or "")


def test_a_stages_setting_is_known_for_models_with_stages_only() -> None:
    name = "finetune_teacher_epochs"
    assert unknown_setting(parse_key(name, STAGES), DECLARED, STAGES) is None
    assert unknown_setting(parse_key(name, ()), DECLARED) is not None


def test_settings_that_recbole_reads_without_declaring_are_known() -> None:
    """RecBole's own start script passes them."""
    known = recbole_overall_settings()
    assert {"nproc", "world_size", "ip", "port", "config_files", "encoding", "worker"} <= set(known)
    assert known["learning_rate"] == 0.001
