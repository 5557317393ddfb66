"""The systems: their stages, what each passes to the next, and what they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import STAGE_SETTINGS, Tiny, finished
from torch import Tensor

from recbole_tinynews.model.stages.joint_teachers import CoFinetunedTeachers
from recbole_tinynews.pipeline.artifact import Artifact
from recbole_tinynews.pipeline.handover import put_copies
from recbole_tinynews.pipeline.plan import Step, plan
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.stage import in_order
from recbole_tinynews.pipeline.systems import system
from recbole_tinynews.serving.loading import load
from recbole_tinynews.trainer import DistillationTrainer

pytestmark = pytest.mark.whole

HEADS = ("news_encoder.text_encoder.pooling.", "news_encoder.text_encoder.dense.", "user_encoder.")


def run_of(tiny: Tiny, folder: Path, model: str | type, **settings: Any) -> Run:
    return tiny.run(model, **{**STAGE_SETTINGS, "checkpoint_dir": str(folder), **settings})


def plan_of(run: Run) -> list[Step]:
    config = run.factory.config
    return plan(run, in_order(system(config)), config["fresh"])


def train(tiny: Tiny, folder: Path, model: str | type, **settings: Any) -> list[Artifact]:
    run = run_of(tiny, folder, model, **settings)
    steps = plan_of(run)
    run.make(system(run.factory.config))
    assert [step.action == "reused" for step in steps] == [a.reused for a in finished(run)]
    return finished(run)


def assert_served(artifact: Artifact, model_class: type | None = None) -> None:
    """Check that the folder alone, without any teacher, is enough to rank with."""
    ranked = load(artifact.folder, model_class).rank(["word1"], ["word2", "word3"])
    assert ranked[0].score > ranked[1].score


def under(prefixes: tuple[str, ...], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("model", "shared"),
    [
        ("TinyBERTMT", ["post_train_teacher", "finetune_teacher", "finetune_teacher"]),
        ("EnsembleTeacher", ["post_train_teacher", "finetune_teacher", "finetune_teacher"]),
        ("TinyBERT", ["post_train_teacher", "finetune_teacher"]),
        *((model, ["post_train_teacher"]) for model in ("MTBERT", "NewsBERT", "NewsBERTMT")),
    ],
)
def test_systems_share_the_training_of_tiny_newsrecs_teachers(
    tiny: Tiny, tmp_path: Path, model: str, shared: list[str]
) -> None:
    """A benchmark would train the same teachers again for each row of its table."""

    def marks(model: str) -> list[tuple[str, str]]:
        run = run_of(tiny, tmp_path, model)
        stages = in_order(system(run.factory.config))
        return [(stage.name, run.recipe(stage).fingerprint) for stage in stages]

    ours = marks("TinyNewsRec")
    assert [name for name, mark in marks(model) if (name, mark) in ours] == shared


def test_mt_bert_finetunes_its_teachers_together_once(tiny: Tiny, saved: Path) -> None:
    """They are the most expensive stage: no weight of the student's losses retrains them."""
    first = train(tiny, saved, "MTBERT")
    assert [(artifact.name, artifact.reused) for artifact in first] == [
        ("post_train_teacher", True),
        ("finetune_teacher", False),
        ("MTBERT", False),
    ]
    assert "CoFinetunedTeachers" in (first[1].folder / "settings.yaml").read_text()
    changed = train(tiny, saved, "MTBERT", hidden_loss_weight=0.5)
    assert [artifact.reused for artifact in changed] == [True, True, False]
    # co-finetuned teachers depend on their number, though the copies are the same
    fewer = train(tiny, saved, "MTBERT", num_teachers=1)
    assert [artifact.reused for artifact in fewer] == [True, False, False]
    for artifact in (first[1], fewer[1]):
        assert_served(artifact, CoFinetunedTeachers)
    assert_served(first[-1])
    assert all(artifact.reused for artifact in train(tiny, saved, "MTBERT"))


def test_each_of_mt_berts_teachers_starts_from_another_copy(tiny: Tiny, saved: Path) -> None:
    """Equal copies would be equal teachers; their shared heads start as those of the last copy."""
    run = run_of(tiny, saved, "MTBERT")
    post_trained = train(tiny, saved, "TinyNewsRec")[0]
    last, before = post_trained.copy(0), post_trained.copy(1)
    config = run.factory.config.for_stage("finetune_teacher")
    model = CoFinetunedTeachers(config, run.factory.train)
    put_copies(model, last, before)
    for teacher, copy in zip(model.teachers, (last, before), strict=True):
        found, expected = teacher.state_dict(), copy.load()
        plm = [name for name in expected if name.startswith("news_encoder.text_encoder.plm.")]
        assert plm
        assert all(torch.equal(found[name], expected[name]) for name in plm)
    heads = [copy.load()["news_encoder.text_encoder.dense.weight"] for copy in (last, before)]
    assert torch.equal(model.news_encoder.text_encoder.dense.weight, heads[0])
    assert not torch.equal(*heads)


@pytest.mark.parametrize("pooling", ["attention", "mean"])
def test_mt_berts_student_starts_with_its_teachers_heads(tiny: Tiny, tmp_path, pooling) -> None:
    """Its layers are the language model's own: the teachers' would make it another student."""
    rates = ("learning_rate", "plm_learning_rate")
    settings = {
        **dict.fromkeys(rates, 1e-60),
        **{f"finetune_teacher_{rate}": 1e-2 for rate in rates},
    }
    artifacts = train(tiny, tmp_path, "MTBERT", news_pooling=pooling, **settings)
    together, student = artifacts[1:]
    start, teachers = student.weights.load(), together.weights.load()
    heads = under(HEADS, start)
    assert len(heads) == (4 if pooling == "attention" else 0) + 2 + 5
    assert all(torch.equal(value, teachers[name]) for name, value in heads.items())
    layer = "news_encoder.text_encoder.plm.encoder.layer.1.output.dense.weight"
    plain = tiny.world("MTBERT").model.state_dict()
    assert torch.equal(start[layer], plain[layer])


@pytest.mark.parametrize(
    "settings",
    [
        {"finetune_teacher_news_dim": 24},
        {"query_dim": 5, "finetune_teacher_query_dim": 8},
        {"finetune_teacher_news_pooling": "mean"},
        {"finetune_teacher_user_encoder": "self_attention"},
    ],
    ids=str,
)
def test_heads_of_another_size_are_refused_before_anything_runs(
    tiny: Tiny, tmp_path: Path, settings
) -> None:
    """The student is built last, after hours of training its teachers."""
    run = run_of(tiny, tmp_path, "MTBERT", **settings)
    with pytest.raises(ValueError, match=r"MTBERT expects a student with its teachers' \w+, got"):
        plan_of(run)


@pytest.mark.parametrize("model", ["TinyBERT", "TinyBERTMT", "MTBERT", "NewsBERT", "NewsBERTMT"])
def test_a_teacher_too_shallow_to_be_paired_is_refused_before_anything_runs(
    tiny: Tiny, tmp_path: Path, model: str
) -> None:
    """Layers are paired when the student is built, after hours of training its teachers."""
    run = run_of(tiny, tmp_path, model, teacher_num_hidden_layers=2, num_hidden_layers=3)
    assert plan_of(run)
    last = {"num_hidden_layers": None, "layer_mapping": "last"}  # all three of its layers
    run = run_of(tiny, tmp_path, model, teacher_num_hidden_layers=2, **last)
    with pytest.raises(ValueError, match=r"at least the student's 3 layers, got one with 2"):
        plan_of(run)


@pytest.mark.parametrize("name", ["TinyBERT", "MTBERT"])
def test_a_resumed_student_reaches_the_same_weights(tiny: Tiny, saved: Path, name: str) -> None:
    """Teachers that draw random numbers, or give other states after a stop, would change them."""

    class Killed(BaseException):
        pass

    def killed(self: DistillationTrainer, *_: object) -> None:
        if self.step == 2:
            raise Killed

    settings = {"plm_dropout": 0.3, "finetune_teacher_plm_dropout": 0.1, "save_steps": 1}
    expected = train(tiny, saved, name, **settings)[-1].weights.load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DistillationTrainer, "after_step", killed)
        with pytest.raises(Killed):
            train(tiny, saved, name, fresh=True, **settings)
    resumed = train(tiny, saved, name, **settings)[-1]
    assert not resumed.reused
    assert all(torch.equal(value, expected[n]) for n, value in resumed.weights.load().items())
