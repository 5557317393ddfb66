from __future__ import annotations

import pytest

from recbole_tinynews.settings.names import recbole_overall_settings, split_stage, unknown_setting

STAGES = ["finetune_teacher", "post_train_teacher", "pretrain_teacher"]
DECLARED = {"learning_rate": 1e-3, "epochs": 1, "topk": [5], "post_train_corpus": None}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("post_train_teacher_learning_rate", ("post_train_teacher", "learning_rate")),
        ("pretrain_teacher_epochs", ("pretrain_teacher", "epochs")),
        ("post_train_corpus", (None, "post_train_corpus")),
        ("teacher_num_hidden_layers", (None, "teacher_num_hidden_layers")),
        ("finetune_layers", (None, "finetune_layers")),
    ],
)
def test_only_a_whole_stage_name_is_a_prefix(name: str, parts: tuple[str | None, str]) -> None:
    """Split at the wrong place, `post_train_corpus` would be an unknown setting of a stage."""
    assert split_stage(name, STAGES) == parts


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
    assert answer in (unknown_setting(name, DECLARED, STAGES) or "")


def test_a_stages_setting_is_known_for_models_with_stages_only() -> None:
    name = "finetune_teacher_epochs"
    assert unknown_setting(name, DECLARED, STAGES) is None
    assert unknown_setting(name, DECLARED) is not None


def test_settings_that_recbole_reads_without_declaring_are_known() -> None:
    """RecBole's own start script passes them."""
    known = recbole_overall_settings()
    assert {"nproc", "world_size", "ip", "port", "config_files", "encoding", "worker"} <= set(known)
    assert known["learning_rate"] == 0.001
