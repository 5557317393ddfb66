from __future__ import annotations

from typing import Any

import pytest

from recbole_tinynews.settings.mistakes import contradictions

FITTING: dict[str, Any] = {
    "stage_one": True,
    "stage_two": True,
    "distillation_loss_weight": 1.0,
    "embedding_loss_weight": 1.0,
    "target_loss_weight": 1.0,
    "negative_titles": "random",
    "post_train_corpus": None,
    "train_batch_size": 128,
}
WEIGHTS = [name for name in FITTING if name.endswith("weight")]
NO_LOSS = dict.fromkeys(WEIGHTS, 0)
NO_LOSS_IN_STAGE_ONE = {f"post_train_student_{name}": 0 for name in WEIGHTS}


def mistakes(**settings: Any) -> list[str]:
    return list(contradictions({**FITTING, **settings}, FITTING))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (NO_LOSS, ["post_train_student_distillation_loss_weight", "distillation_loss_weight"]),
        (NO_LOSS_IN_STAGE_ONE, ["post_train_student_distillation_loss_weight"]),
        ({**NO_LOSS, "stage_one": False}, ["distillation_loss_weight"]),
        ({**NO_LOSS, "stage_two": False}, ["post_train_student_distillation_loss_weight"]),
        ({**NO_LOSS, "stage_one": False, "stage_two": False}, []),
        ({**NO_LOSS_IN_STAGE_ONE, "stage_one": False}, []),
        ({**NO_LOSS, "post_train_student_target_loss_weight": 1}, ["distillation_loss_weight"]),
        ({"distillation_loss_weight": 0, "embedding_loss_weight": 0}, []),
    ],
)
def test_a_stage_without_any_loss_is_refused_before_its_teachers_train(settings, named) -> None:
    """The first backward would fail, hours later; a stage that does not run needs no loss."""
    found = mistakes(**settings)
    assert [mistake.split(",")[0] for mistake in found] == named
    assert all("leaves no loss" in mistake for mistake in found)


def test_any_loss_that_is_declared_is_a_loss() -> None:
    """NewsBERT with its news vectors alone, or a user's loss alone, would be refused."""
    none = {**FITTING, **NO_LOSS, "stage_one": False}
    alone = {**none, "news_vector_loss_weight": 1, "teacher_target_loss_weight": 0}
    assert list(contradictions(alone, alone)) == []
    users = {**none, "category_loss_weight": 0.1}
    assert list(contradictions(users, users)) == []
    # a user's loss is none of Stage I's, a teacher's is none of the student's
    (told,) = contradictions({**users, "stage_one": True}, users)
    assert told.startswith("post_train_student_distillation_loss_weight")
    teachers = {**none, "teacher_target_loss_weight": 1}
    assert len(list(contradictions(teachers, teachers))) == 1


def test_a_target_loss_without_a_weight_is_always_there() -> None:
    """A PLM-NR with an auxiliary loss could not be run without it."""
    settings = {"category_loss_weight": 0, "train_batch_size": 8}
    assert list(contradictions(settings, settings)) == []


COMPARED: dict[str, Any] = {
    "distillation_loss_weight": 0.0,
    "hidden_loss_weight": 0.0,
    "target_loss_weight": 1.0,
    "layer_mapping": "uniform",
    "max_title_length": 30,
    "mask_padding_in_news_pooling": True,
    "history_cache_steps": 0,
    "train_batch_size": 128,
}


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, []),
        ({"target_loss_weight": 0}, ["leaves no loss. Raise one"]),
        ({"target_loss_weight": 0, "hidden_loss_weight": 0.1}, []),
        ({"history_cache_steps": 2}, ["history_cache_steps expects 0, got 2"]),
        (
            {"finetune_teacher_max_title_length": 24},
            ["finetune_teacher_max_title_length expects 30"],
        ),
        (
            {"finetune_teacher_mask_padding_in_news_pooling": False},
            ["finetune_teacher_mask_padding_in_news_pooling expects True"],
        ),
        (
            {"post_train_teacher_max_title_length": 24},
            [],
        ),  # what it reads is compared with nobody's
    ],
)
def test_a_student_that_cannot_compare_is_refused_before_its_teachers_train(
    settings, found
) -> None:
    """Its first step would fail, hours later: states are compared token by token."""
    told = list(contradictions({**COMPARED, **settings}, COMPARED))
    assert len(told) == len(found)
    assert all(part in mistake for part, mistake in zip(found, told, strict=True))
    assert not any("stage_two" in mistake for mistake in told)


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        (
            {"negative_titles": "category", "post_train_corpus": "news.tsv"},
            ["post_train_teacher", "post_train_student"],
        ),
        (
            {"post_train_teacher_negative_titles": "category", "post_train_corpus": "news.tsv"},
            ["post_train_teacher"],
        ),
        ({"negative_titles": "category"}, []),
        ({"negative_titles": "hard", "post_train_corpus": "news.tsv"}, []),
        (
            {"negative_titles": "in_batch", "post_train_student_train_batch_size": 1},
            ["post_train_student"],
        ),
        ({"negative_titles": "in_batch", "train_batch_size": 2}, []),
    ],
)
def test_titles_that_cannot_be_had_are_refused_at_once(settings, stages) -> None:
    """A corpus file has no categories, a batch of one no other titles."""
    found = mistakes(**settings)
    assert [mistake.split("_negative_titles=")[0] for mistake in found] == stages
    assert all(" expects " in mistake for mistake in found)


def test_models_without_these_settings_contradict_nothing() -> None:
    settings = {"learning_rate": 1.0, "train_batch_size": 1}
    assert list(contradictions(settings, settings)) == []
