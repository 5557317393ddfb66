"""Systems whose student or teachers are no language models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import DATASET, OWN_SETTINGS, PLM_TEACHERS, STAGE_SETTINGS, Tiny, run_of, student_of

from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.files.tensors import load_weights
from recbole_tinynews.model.baselines.nrms import NRMS, SelfAttentiveUser
from recbole_tinynews.model.paper.tinynewsrec import TinyNewsRec
from recbole_tinynews.pipeline.artifact import WEIGHTS
from recbole_tinynews.pipeline.config import NewsConfig
from recbole_tinynews.pipeline.fingerprints import source_of
from recbole_tinynews.pipeline.handover import put_news_encoder
from recbole_tinynews.pipeline.quick_start import run
from recbole_tinynews.pipeline.stage import Stage, Start, in_order
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.serving.loading import load
from recbole_tinynews.zoo.cennewsrec import CNNSelfAttention


def config_of(tiny: Tiny, student: str = "PLMNR", **settings: Any) -> NewsConfig:
    """Settings that a file or the command line would give, without those that its yaml declares."""
    usual = {**tiny.settings("TinyNewsRec"), **({} if student == "PLMNR" else PLM_TEACHERS)}
    del usual["head_init"]
    return NewsConfig(student_of(student), DATASET, config_dict={**usual, **settings})


def stages_of(tiny: Tiny, **settings: Any) -> list[Stage]:
    return in_order(system(config_of(tiny, **settings)))


BEFORE = ["post_train_teacher", "post_train_student", "finetune_teacher", "finetune_teacher"]
WITHOUT_STAGE_ONE = [name for name in BEFORE if name != "post_train_student"]


def test_a_word_student_has_all_stages_and_its_own_defaults(tiny: Tiny) -> None:
    """Without Stage I its words would get a meaning from clicks alone."""
    config = config_of(tiny, student="NRMS")
    stages = in_order(system(config))
    assert [stage.name for stage in stages] == [*BEFORE, "NRMSStudent"]
    assert issubclass(stages[1].model.reading_as, NRMS)
    assert stages[-1].start == Start(put_news_encoder, (stages[1],))
    assert config["news_encoder"] == "words"
    assert config.for_stage("post_train_student")["news_encoder"] == "words"
    model = tiny.world(student_of("NRMS"), **PLM_TEACHERS, head_init="random").model
    assert type(model.news_encoder) is OneTextEncoder
    assert isinstance(model.user_encoder, SelfAttentiveUser)
    assert isinstance(model, NRMS)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"student": "NRMS", "stage_one": False}, WITHOUT_STAGE_ONE),
        ({"student": "NRMS", "stage_two": False}, BEFORE[:2]),
        ({"student": "NAML"}, WITHOUT_STAGE_ONE),
        ({"student": "NAML", "views": ["title"]}, BEFORE),
        ({"student": "LSTUR"}, WITHOUT_STAGE_ONE),
        ({"student": "NPA", "stage_one": False}, WITHOUT_STAGE_ONE),
        ({"student": "NRMS", "news_text": "title_abstract"}, BEFORE),
        ({"student": "NRMS", "finetune_teacher_news_encoder": "words"}, BEFORE[2:]),
    ],
)
def test_what_reads_one_text_is_post_trained_under_language_models(
    tiny: Tiny, settings: dict[str, Any], names: list[str]
) -> None:
    """A view that no body is matched with, or a reader's own words, would start untrained."""
    assert [stage.name for stage in stages_of(tiny, **settings)[:-1]] == names


def test_stage_one_reads_as_a_users_own_student_does(tiny: Tiny) -> None:
    """Read in another context than in Stage II, its weights would have no place there."""

    class Mine(TinyNewsRec):
        def make_word_context(self, config: Any) -> CNNSelfAttention:
            return CNNSelfAttention(config["word_dim"], config["news_dim"], head_dim=4)

    config = tiny.config(Mine, **STAGE_SETTINGS, **PLM_TEACHERS, news_encoder="words")
    stage = in_order(system(config))[1]
    own = config.for_stage(stage.name)
    model = run_of(config).factory.model(stage.model, own)
    assert isinstance(model.news_encoder.text_encoder.context, CNNSelfAttention)
    assert source_of(stage) == [Path(__file__)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("news_encoder", "plm"),
        ("views", ["title", "category"]),
        ("word_dim", 20),
        ("word_encoder", "cnn"),
        ("news_dim", 32),
        ("query_dim", 9),
        ("news_text", "title_abstract"),
        ("head_init", "pretrained"),
    ],
)
def test_a_news_encoder_that_stage_two_cannot_take_over_is_refused(
    tiny: Tiny, name: str, value: Any
) -> None:
    """Its weights would not fit after hours of training, or fit and mean something else."""
    told = rf"\n- post_train_student_{name} expects .*, as in NRMSStudent, .*got .*Set {name} for"
    with pytest.raises(ValueError, match=told):
        stages_of(tiny, student="NRMS", **{f"post_train_student_{name}": value})
    stages_of(tiny, student="NRMS", stage_one=False, **{f"post_train_student_{name}": value})


@pytest.mark.parametrize("student", ["PLMNR", "NRMS"])
@pytest.mark.parametrize("stage", ["post_train_teacher", "post_train_student"])
def test_teachers_and_student_of_stage_one_read_the_same_articles(
    tiny: Tiny, student: str, stage: str
) -> None:
    """They know them by number: teachers would speak of other titles, and nobody would notice."""
    for name, value in (("post_train_news", "all"), ("post_train_corpus", "news.tsv")):
        with pytest.raises(ValueError, match=rf"post_train_student_{name} expects .*same articles"):
            stages_of(tiny, student=student, **{f"{stage}_{name}": value})
        stages_of(tiny, student=student, **{name: value})


def test_a_student_of_words_cannot_start_with_the_teachers_layers(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"student_init=teacher .* Set student_init=plm"):
        stages_of(tiny, student="NRMS", student_init="teacher")


@pytest.mark.parametrize("model", ["TinyBERT", "PLMNRDP", "EnsembleTeacher", "ZeroShotPLM"])
@pytest.mark.parametrize("other", [{"news_encoder": "words"}, {"views": ["title", "category"]}])
def test_what_needs_one_language_model_of_titles_says_so(
    tiny: Tiny, model: str, other: dict[str, Any]
) -> None:
    """Words and views have no layers to compare or to post-train, and no ranking untrained."""
    with pytest.raises(
        ValueError, match=rf"(news_encoder|views) expects .*(plm|title).* in {model}"
    ):
        system(tiny.config(model, **{"head_init": "pretrained", **other}))


@pytest.mark.parametrize(
    ("model", "settings", "told"),
    [
        ("NPA", {"views": ["title", "category"]}, r"views expects \[title\] in NPA"),
        ("NRMS", {"news_dim": 24}, "divisible by 16.*got 24"),
        ("Fastformer", {"news_dim": 24, "word_encoder": "cnn"}, "divisible by .*got 24"),
        ("CenNewsRec", {"head_dim": 5}, "divisible by 5.*got 16"),
        ("NAML", {"news_dim": 24, "word_encoder": "self_attention"}, "divisible by 16.*got 24"),
    ],
)
def test_parts_that_do_not_fit_are_named_before_training(
    tiny: Tiny, model: str, settings: dict[str, Any], told: str
) -> None:
    """They would end in a traceback about shapes, or in a division by zero."""
    config = tiny.config(model, **{"news_encoder": "words", **settings})
    with pytest.raises(ValueError, match=told):
        run_of(config).make(system(config))


@pytest.mark.whole
@pytest.mark.parametrize("student", ["NRMS", "CenNewsRec"])
def test_stage_two_of_a_word_student_starts_from_stage_one(
    tiny: Tiny, all_four_stages: Path, student: str
) -> None:
    """Weights that are trained and not taken over would have been trained for nothing."""
    tmp_path = Path(shutil.copytree(all_four_stages, "saved"))  # with the same teachers
    stages = ("post_train_teacher", "finetune_teacher", "post_train_student")
    given = {**PLM_TEACHERS, "checkpoint_dir": str(tmp_path), "learning_rate": 1e-60}
    given |= {f"{stage}_learning_rate": 1e-3 for stage in stages}
    given |= OWN_SETTINGS.get(student, {})
    every = {**tiny.settings("TinyNewsRec"), **given}
    result = run(student_of(student), DATASET, config_dict=every)
    folders = [tmp_path / DATASET / f"{s['name']}-{s['fingerprint']}" for s in result["stages"]]
    first, second = (load_weights(folders[place] / WEIGHTS) for place in (1, -1))
    handed_over = [name for name in first if name.startswith("news_encoder.")]
    assert "news_encoder.text_encoder.words.weight" in handed_over
    assert all(torch.equal(first[name], second[name]) for name in handed_over)
    assert json.loads((folders[1] / "metrics.json").read_text())["valid"]["accuracy"] >= 0
    ranker = load(folders[-1], model=student_of(student))
    ranked = ranker.rank(["word1 word2"], ["word3 unheard of", "word4 word5"])
    assert len({each.score for each in ranked}) == 2


@pytest.mark.whole
def test_word_teachers_teach_a_language_model(tiny: Tiny, tmp_path: Path) -> None:
    given = {"finetune_teacher_news_encoder": "words", "checkpoint_dir": str(tmp_path)}
    result = run("TinyNewsRec", DATASET, config_dict={**tiny.settings("TinyNewsRec"), **given})
    assert 0 < result["test"]["auc"] < 1


def test_vectors_of_another_width_are_compared_by_projections(tiny: Tiny) -> None:
    """A teacher's vectors are as wide as its own settings say."""
    world = tiny.world(
        student_of("NRMS"), **PLM_TEACHERS, news_dim=32, finetune_teacher_news_dim=16
    )
    losses = world.model.calculate_loss(world.clicked(list(range(8))))
    assert losses._fields == ("distillation", "embedding", "target")
    projections = world.model.distillation.item_embedding.projections
    assert {tuple(each.weight.shape) for each in projections} == {(32, 16)}
    losses.embedding.backward()
    words = world.model.news_encoder.text_encoder.words.weight
    assert isinstance(words.grad, torch.Tensor)
    assert words.grad.abs().sum() > 0
    teacher = world.teachers().members[0]
    assert isinstance(teacher.news_encoder, OneTextEncoder)


def test_vectors_of_words_do_not_begin_in_a_language_models_space(tiny: Tiny) -> None:
    """They are as wide and of unit length too: an identity would compare them number by number."""
    same: dict[str, Any] = {"head_init": "pretrained", "news_dim": 32}
    for student, is_identity in (("PLMNR", True), ("NRMS", False)):
        model = tiny.world(student_of(student), **PLM_TEACHERS, **same).model
        for projection in model.distillation.item_embedding.projections:
            assert torch.equal(projection.weight, torch.eye(32)) == is_identity, student


def test_what_suits_word_vectors_holds_for_nobody_else() -> None:
    """Teachers with a language model would be finetuned for as long as word vectors need."""
    alone = NewsConfig("NRMS", "mind-mini")
    assert (alone["epochs"], alone["learning_rate"]) == (10, 1e-3)
    by_plm = NewsConfig("NRMS", "mind-mini", config_dict={"news_encoder": "plm"})
    assert (by_plm["epochs"], by_plm["learning_rate"], by_plm["word_vectors"]) == (3, 1e-3, None)
