"""Systems whose student or teachers are other recommenders than PLM-NRs, by settings alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import DATASET, Tiny

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.encoder.users.self_attentive import SelfAttentiveUser
from recbole_tinynews.encoder.words.word_news_encoder import WordNewsEncoder
from recbole_tinynews.model.nrms import NRMS
from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.pipeline.recipes import Recipes
from recbole_tinynews.pipeline.stage import Stage, in_order
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.quick_start import run
from recbole_tinynews.serving.loading import load


def config_of(tiny: Tiny, **settings: Any) -> NewsConfig:
    """Settings that a file or the command line would give, without those that its yaml declares."""
    usual = tiny.settings("TinyNewsRec")
    del usual["head_init"]
    return NewsConfig("TinyNewsRec", DATASET, config_dict={**usual, **settings})


def stages_of(tiny: Tiny, **settings: Any) -> list[Stage]:
    return in_order(system(config_of(tiny, **settings)))


def test_a_word_student_has_no_stage_one_and_its_own_defaults(tiny: Tiny) -> None:
    """Matching titles and bodies trains a language model, which it does not have."""
    config = config_of(tiny, student="NRMS")
    stages = in_order(system(config))
    names = [stage.name for stage in stages]
    assert names == ["post_train_teacher", "finetune_teacher", "finetune_teacher", "TinyNewsRec"]
    assert config["news_encoder"] == "words"
    model = tiny.world("TinyNewsRec", student="NRMS", head_init="random").model
    assert isinstance(model.news_encoder, WordNewsEncoder)
    assert isinstance(model.user_encoder, SelfAttentiveUser)
    assert isinstance(model, NRMS)


def test_the_students_yaml_says_nothing_of_the_teachers(tiny: Tiny) -> None:
    """A plain value holds for every stage: teachers would read words, with random heads."""
    usual, other = config_of(tiny), config_of(tiny, student="NRMS")
    for stage in ("post_train_teacher", "finetune_teacher"):
        of_usual, of_other = usual.for_stage(stage), other.for_stage(stage)
        for name in ("news_encoder", "head_init", "amsgrad", "train_batch_size"):
            assert of_other[name] == of_usual[name], f"{stage}_{name}"
    assert (other["head_init"], usual["head_init"]) == ("random", "pretrained")


def test_what_a_user_sets_holds_for_teachers_too(tiny: Tiny) -> None:
    """The rule of all plain settings, also for one that the student's yaml sets."""
    config = config_of(tiny, student="NRMS", amsgrad=True, finetune_teacher_head_init="random")
    assert config.for_stage("finetune_teacher")["amsgrad"] is True
    assert config.for_stage("finetune_teacher")["head_init"] == "random"
    assert config.for_stage("post_train_teacher")["head_init"] == "pretrained"


def test_teachers_are_shared_with_the_usual_student(tiny: Tiny) -> None:
    """Other teachers for each student would be trained for nothing, and compared unfairly."""

    def fingerprints(**settings: Any) -> list[str]:
        made = tiny.run("TinyNewsRec", **settings)
        recipes = Recipes(made.factory)
        every = in_order(system(made.factory.config))
        return [recipes.of(stage).fingerprint for stage in every if "teacher" in stage.name]

    assert fingerprints(student="NRMS") == fingerprints()


def test_a_word_teacher_is_not_post_trained(tiny: Tiny) -> None:
    """It has no language model that could be."""
    stages = stages_of(tiny, teacher="NRMS")
    assert [stage.name for stage in stages] == ["finetune_teacher"] * 2 + ["TinyNewsRec"]
    assert {stage.model for stage in stages[:2]} == {NRMS}
    assert [stage.number for stage in stages[:2]] == [0, 1]
    config = config_of(tiny, teacher="NRMS")
    assert config.for_stage("finetune_teacher")["news_encoder"] == "words"
    assert config["news_encoder"] == "plm"


def test_a_teacher_with_a_language_model_is_post_trained(tiny: Tiny) -> None:
    stages = stages_of(tiny, teacher="NRMS", finetune_teacher_news_encoder="plm")
    assert stages[0].name == "post_train_teacher"
    assert {stage.model for stage in stages if stage.name == "finetune_teacher"} == {NRMS}


def test_without_stage_two_the_student_is_trained_alone(tiny: Tiny) -> None:
    """A PLM-NR in its place would be another recommender than the ablation names."""
    (stage,) = stages_of(tiny, student="NRMS", stage_two=False)
    assert stage.model is NRMS
    assert stages_of(tiny, stage_one=False, stage_two=False)[-1].model is PLMNR


def test_equal_settings_make_one_class(tiny: Tiny) -> None:
    """Stages are compared by value: two classes would train a stage twice."""
    first, second = (config_of(tiny, student="NRMS", teacher="NRMS") for _ in range(2))
    assert first.model_class is second.model_class
    assert config_of(tiny).model_class is config_of(tiny, student="PLMNR").model_class


@pytest.mark.parametrize(
    ("part", "name", "told"),
    [
        ("student", "TinyNewsRec", "got TinyNewsRec"),
        ("student", "NRSM", r"Did you mean NRMS"),
        ("teacher", "ZeroShotPLM", "got ZeroShotPLM"),
        ("teacher", "PLMNRDP", "got PLMNRDP"),
        ("student", "BPR", "got BPR"),
        ("teacher", 3, "got 3"),
    ],
)
def test_what_cannot_be_distilled_is_refused_by_name(
    tiny: Tiny, part: str, name: Any, told: str
) -> None:
    """A class with stages of its own would lose them without a word."""
    with pytest.raises(ValueError, match=rf"\n- {part} .*expects .*{told}"):
        config_of(tiny, **{part: name})


def test_a_student_of_words_cannot_start_with_the_teachers_layers(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"student_init=teacher .* Set student_init=plm"):
        stages_of(tiny, student="NRMS", student_init="teacher")


@pytest.mark.parametrize("model", ["TinyBERT", "PLMNRDP", "EnsembleTeacher", "ZeroShotPLM"])
@pytest.mark.parametrize("other", [{"news_encoder": "words"}, {"views": ["title", "category"]}])
def test_what_needs_one_language_model_of_titles_says_so(
    tiny: Tiny, model: str, other: dict[str, Any]
) -> None:
    """Words and views have no layers to compare or to post-train, and no ranking untrained."""
    with pytest.raises(ValueError, match=f"{model} needs one language model that reads titles"):
        system(tiny.config(model, **{"head_init": "pretrained", **other}))


@pytest.mark.parametrize(
    ("model", "settings", "told"),
    [
        ("NPA", {"views": ["title", "category"]}, r"views expects \[title\] in NPA"),
        ("NRMS", {"news_dim": 24}, "multiple of 16, the size of a head of NRMS"),
        ("Fastformer", {"news_dim": 8}, "multiple of 16, the size of a head of Fastformer"),
        ("NAML", {"news_dim": 24, "word_encoder": "self_attention"}, "head of word_encoder"),
    ],
)
def test_parts_that_do_not_fit_are_named_before_training(
    tiny: Tiny, model: str, settings: dict[str, Any], told: str
) -> None:
    """They would end in a traceback about shapes, or in a division by zero."""
    with pytest.raises(ValueError, match=told):
        system(tiny.config(model, **{"news_encoder": "words", **settings}))


def test_a_part_that_is_named_too_late_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """A PLM-NR would be trained, and its settings and fingerprint would say NRMS."""
    lines = (
        "from recbole_tinynews.model.tinynewsrec import TinyNewsRec\nclass Mine(TinyNewsRec): ..."
    )
    (tmp_path / "mine.py").write_text(lines)
    (tmp_path / "Mine.yaml").write_text("student: NRMS")
    spec = importlib.util.spec_from_file_location("mine", tmp_path / "mine.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["mine"] = module
    try:
        spec.loader.exec_module(module)
        with pytest.raises(ValueError, match="student=NRMS is in the yaml of a model or data set"):
            NewsConfig(module.Mine, DATASET, config_dict=tiny.settings("TinyNewsRec"))
    finally:
        del sys.modules["mine"]


@pytest.mark.whole
def test_a_word_student_is_distilled_and_served(tiny: Tiny, tmp_path: Path) -> None:
    """All stages by settings alone: teachers read word pieces and are wider, it reads words."""
    wide = {f"{stage}_news_dim": 24 for stage in ("post_train_teacher", "finetune_teacher")}
    given = {"student": "NRMS", "checkpoint_dir": str(tmp_path), **wide}
    result = run("TinyNewsRec", DATASET, config_dict={**tiny.settings("TinyNewsRec"), **given})
    assert 0 < result["test"]["auc"] < 1
    made = result["stages"][-1]
    ranker = load(tmp_path / DATASET / f"{made['name']}-{made['fingerprint']}")
    ranked = ranker.rank(["word1 word2"], ["word3 unheard of", "word4 word5"], ids=False)
    assert len({each.score for each in ranked}) == 2
    again = run("TinyNewsRec", DATASET, config_dict={**tiny.settings("TinyNewsRec"), **given})
    assert again["test"] == result["test"]


@pytest.mark.whole
def test_teachers_with_other_heads_take_up_what_was_post_trained(
    tiny: Tiny, tmp_path: Path
) -> None:
    """MINER pools by the first token: post-training with attention pooling would be for nothing."""
    usual = tiny.settings("TinyNewsRec")
    del usual["head_init"]
    given = {"teacher": "MINER", "checkpoint_dir": str(tmp_path), "context_codes": 3}
    result = run("TinyNewsRec", DATASET, config_dict={**usual, **given})
    assert 0 < result["test"]["auc"] < 1
    assert result["stages"][0]["name"] == "post_train_teacher"


@pytest.mark.whole
def test_word_teachers_teach_a_language_model(tiny: Tiny, tmp_path: Path) -> None:
    given = {"teacher": "NRMS", "checkpoint_dir": str(tmp_path)}
    result = run("TinyNewsRec", DATASET, config_dict={**tiny.settings("TinyNewsRec"), **given})
    assert 0 < result["test"]["auc"] < 1


def test_vectors_of_another_width_are_compared_by_projections(tiny: Tiny) -> None:
    """A teacher's vectors are as wide as its own settings say."""
    world = tiny.world("TinyNewsRec", student="NRMS", news_dim=32, finetune_teacher_news_dim=16)
    losses = world.model.calculate_loss(world.clicked(list(range(8))))
    assert losses._fields == ("distillation", "embedding", "target")
    projections = world.model.distillation.item_embedding.projections
    assert {tuple(each.weight.shape) for each in projections} == {(32, 16)}
    losses.embedding.backward()
    words = world.model.news_encoder.text_encoder.words.weight
    assert isinstance(words.grad, torch.Tensor)
    assert words.grad.abs().sum() > 0
    teacher = world.teachers().members[0]
    assert isinstance(teacher.news_encoder, NewsEncoder)


@pytest.mark.whole
@pytest.mark.parametrize(
    "part",
    [
        {"student": "NPA", "news_encoder": "plm"},
        {"teacher": "NPA", "finetune_teacher_news_encoder": "plm"},
    ],
)
def test_users_of_tokens_take_up_what_was_post_trained(
    tiny: Tiny, tmp_path: Path, part: dict[str, Any]
) -> None:
    """They pool nothing: weights of a pooling would have no place in them."""
    usual = tiny.settings("TinyNewsRec")
    del usual["head_init"]
    result = run(
        "TinyNewsRec", DATASET, config_dict={**usual, **part, "checkpoint_dir": str(tmp_path)}
    )
    assert 0 < result["test"]["auc"] < 1
    names = [stage["name"] for stage in result["stages"]]
    assert names[0] == "post_train_teacher"
    assert "post_train_student" in names
