"""Settings that are valid each but contradict each other are refused before any training."""

from __future__ import annotations

from typing import Any

import pytest
from tiny import STAGE_SETTINGS, Tiny

from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.paper.tinynewsrec import TinyNewsRec
from recbole_tinynews.pipeline.stage import Stage
from recbole_tinynews.pipeline.systems import system

WEIGHTS = ["distillation_loss_weight", "embedding_loss_weight", "target_loss_weight"]
NO_LOSS = dict.fromkeys(WEIGHTS, 0)
NO_LOSS_IN_STAGE_ONE = {f"post_train_student_{name}": 0 for name in WEIGHTS}


def mistakes(tiny: Tiny, model: str, **settings: Any) -> list[str]:
    """The reported contradictions among the settings of a system."""
    config = tiny.config(model, **settings)
    try:
        system(config)
    except ValueError as refused:
        head, *found = str(refused).split("\n- ")
        assert head == f"The settings of {model} don't fit together:"
        return found
    return []


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
def test_a_stage_without_any_loss_is_refused_before_its_teachers_train(
    tiny: Tiny, settings, named
) -> None:
    """The first backward would fail, hours later; a stage that does not run needs no loss."""
    found = mistakes(tiny, "TinyNewsRec", **settings)
    assert [mistake.split(",")[0] for mistake in found] == named
    assert all("leaves no loss" in mistake for mistake in found)


@pytest.mark.parametrize("loss", ["news_vector", "user", "hidden", "embedding", "distillation"])
def test_any_loss_of_the_student_is_a_loss(tiny: Tiny, loss: str) -> None:
    """NewsBERT with the loss of news vectors alone was refused as if it had no loss."""
    names = ["distillation", "hidden", "embedding", "news_vector", "user", "target"]
    none = {f"{name}_loss_weight": 0 for name in names}
    assert mistakes(tiny, "NewsBERT", **{**none, f"{loss}_loss_weight": 1}) == []
    (reported,) = mistakes(tiny, "NewsBERT", **none, teacher_target_loss_weight=1)
    assert "leaves no loss" in reported  # a teacher's loss is not one of the student's
    assert "teacher_target" not in reported


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, []),
        ({"history_cache_steps": 2}, ["history_cache_steps expects 0 in TinyBERT"]),
        (
            {"finetune_teacher_max_title_length": 24},
            ["finetune_teacher_max_title_length expects 12"],
        ),
        (
            {"finetune_teacher_mask_padding_in_news_pooling": False},
            ["finetune_teacher_mask_padding_in_news_pooling expects True"],
        ),
        ({"post_train_teacher_max_title_length": 24}, []),  # it is not compared with any teacher
    ],
)
def test_a_student_that_cannot_compare_is_refused_before_its_teachers_train(
    tiny: Tiny, settings, found
) -> None:
    """States are compared token by token: its first step would fail, hours later."""
    reported = mistakes(tiny, "TinyBERT", **settings)
    assert len(reported) == len(found)
    assert all(part in mistake for part, mistake in zip(found, reported, strict=True))


def test_titles_that_cannot_be_had_are_refused_at_once(tiny: Tiny) -> None:
    """A batch of one has no other titles; a batch of clicks needs none."""
    given = {"negative_titles": "in_batch", "train_batch_size": 1}
    assert mistakes(tiny, "TinyNewsRec", **given) == []
    (found,) = mistakes(tiny, "TinyNewsRec", **given, post_train_student_train_batch_size=1)
    assert found.startswith("post_train_student_negative_titles=in_batch expects ")


def stages_of(base: type, stage: Stage) -> type:
    """A recommender outside the package whose only stage is this one."""
    return type("Mine", (base,), {"stages": classmethod(lambda cls, config: stage)})


TEACHERS = tuple(Stage("finetune_teacher", PLMNR, number=number) for number in range(3))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (Stage("Mine", PLMNR, teachers=TEACHERS[:1]), "has 1 teachers and expects a model that"),
        (Stage("Mine", TinyNewsRec), "expects teachers to learn from, got none"),
        (Stage("Mine", TinyNewsRec, teachers=TEACHERS), "expects 2 teachers, .*got 3"),
    ],
)
def test_a_stage_whose_teachers_do_not_fit_is_refused_before_they_are_trained(
    tiny: Tiny, stage: Stage, message: str
) -> None:
    """The trainer or the first batch would fail, when the teachers have taken their hours."""
    config = tiny.config(stages_of(TinyNewsRec, stage), **STAGE_SETTINGS)
    with pytest.raises(ValueError, match=message):
        system(config)


def test_popularity_without_clicks_is_refused(tiny: Tiny) -> None:
    """Its term would never be fitted, and the student ranked as if it had none."""
    (reported,) = mistakes(tiny, "ZeroShotStudent", popularity="added")
    assert "a recommender that reads clicks" in reported
    assert mistakes(tiny, "AlignedNewsRec", popularity="added") == []
