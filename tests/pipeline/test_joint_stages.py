"""The stages of NewsBERT and NewsBERT-MT: what each starts from, and what is saved."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tiny import Tiny, finished, run_of
from torch import Tensor

import recbole_tinynews
from recbole_tinynews.encoder.language_model import load_plm
from recbole_tinynews.pipeline import factory
from recbole_tinynews.pipeline.run import Run
from recbole_tinynews.pipeline.systems import system

pytestmark = pytest.mark.whole

Weights = dict[str, Tensor]
MODELS = ["NewsBERT", "NewsBERTMT"]


class RecordedRun(NamedTuple):
    """A run, and the weights with which joint training started."""

    run: Run
    student: Weights
    teachers: list[Weights]


def record(tiny: Tiny, model: str, **settings: Any) -> RecordedRun:
    config = tiny.config(model, **settings)
    run = run_of(config)
    seen: list[tuple[Weights, list[Weights]]] = []
    find = factory.find_trainer

    def watched(model_class: type) -> Any:
        trainer_class = find(model_class)

        def fit(self: Any, *arguments: Any, **keywords: Any) -> tuple:
            if model_class.__name__ == model:
                members = self.teachers.members
                seen.append((copy_of(self.model), [copy_of(member) for member in members]))
            return trainer_class.fit(self, *arguments, **keywords)

        return type(trainer_class.__name__, (trainer_class,), {"fit": fit})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factory, "find_trainer", watched)
        run.make(system(config))
    (student, teachers) = seen[0]
    return RecordedRun(run, student, teachers)


def copy_of(module: torch.nn.Module) -> Weights:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def of(weights: Weights, prefix: str) -> Weights:
    return {name: value for name, value in weights.items() if name.startswith(prefix)}


def equal(one: Weights, other: Weights) -> bool:
    assert one.keys() == other.keys()
    assert one
    return all(torch.equal(value, other[name]) for name, value in one.items())


PLM = "news_encoder.text_encoder.plm."
HEADS = ("news_encoder.text_encoder.pooling.", "news_encoder.text_encoder.dense.")


@pytest.mark.parametrize("model", MODELS)
def test_each_part_starts_from_what_the_system_says(tiny: Tiny, model: str) -> None:
    """Otherwise the post-trained weights would be thrown away silently."""
    recorded = record(tiny, model)
    post_trained, joint = finished(recorded.run)
    assert (post_trained.name, joint.name) == ("post_train_teacher", model)
    backs = reversed(range(len(recorded.teachers)))  # the oldest first
    copies = [post_trained.copy(back).load() for back in backs]
    assert len(recorded.teachers) == {"NewsBERT": 1, "NewsBERTMT": 2}[model]
    final = post_trained.weights.load()
    assert equal(of(copies[-1], PLM), of(final, PLM))
    for teacher, copy in zip(recorded.teachers, copies, strict=True):
        assert equal(of(teacher, PLM), of(copy, PLM))
    if model == "NewsBERTMT":
        assert not equal(of(copies[0], PLM), of(copies[1], PLM))
    plain = {f"{PLM}{n}": v for n, v in load_plm(str(tiny.plm), 2).state_dict().items()}
    assert equal(of(recorded.student, PLM), plain)
    for head in HEADS:
        assert equal(of(recorded.student, head), of(final, head))
        for teacher in recorded.teachers:
            assert equal(of(teacher, head), of(final, head))
    users = [of(each, "user_encoder.") for each in (recorded.student, *recorded.teachers)]
    assert all(equal(users[0], other) for other in users[1:])


def test_the_student_may_start_from_the_teachers_first_layers(tiny: Tiny) -> None:
    everything = {"post_train_teacher_finetune_layers": "all", "student_init": "teacher"}
    recorded = record(tiny, "NewsBERT", **everything)
    final = finished(recorded.run)[0].weights.load()
    for name, value in recorded.student.items():
        if not name.startswith("user_encoder."):
            assert torch.equal(value, final[name]), name
    first = f"{PLM}encoder.layer.0.output.dense.weight"
    plain = load_plm(str(tiny.plm)).get_parameter(first.removeprefix(PLM))
    assert not torch.equal(recorded.student[first], plain)


@pytest.mark.parametrize("model", MODELS)
def test_the_saved_model_is_the_student_alone(tiny: Tiny, model: str) -> None:
    """With the teachers in its weights, the saved model would be as large as they are."""
    recorded = record(tiny, model)
    artifact = finished(recorded.run)[-1]
    left = artifact.weights.load()
    assert left.keys() == recorded.student.keys()
    assert {name.split(".")[0] for name in left} == {"news_encoder", "user_encoder"}
    assert not [name for name in left if ".layer.2." in name]
    assert not equal(of(left, "user_encoder."), of(recorded.student, "user_encoder."))
    student = recorded.run.model(next(reversed(recorded.run.artifacts)))
    assert student.parameter_count == tiny.world("PLMNR").model.parameter_count
    assert sum(value.numel() for value in left.values()) == student.parameter_count
    files = {path.name for path in artifact.folder.iterdir()}
    shown = {"training.csv", "plm", "tensorboard"}
    assert files == {"model.safetensors", "settings.yaml", "metrics.json", *shown}
    ranked = recbole_tinynews.load(artifact.folder).rank(["word1 word2"], ["word3", "word4 word5"])
    assert {each.candidate for each in ranked} == {"word3", "word4 word5"}


def test_the_losses_are_logged_by_name(tiny: Tiny) -> None:
    recorded = record(tiny, "NewsBERT", user_loss_weight=1.0, finetune_layers="all")
    curve = finished(recorded.run)[-1].folder / "training.csv"
    columns = curve.read_text(encoding="utf-8").splitlines()[0].split(",")
    names = ["distillation", "hidden", "embedding", "news_vector", "user", "target"]
    expected = [f"{name}_loss" for name in [*names, "teacher_target"]]
    assert columns[: len(expected) + 2] == ["step", "train_loss", *expected]


def test_the_systems_share_the_teachers_post_training(tiny: Tiny, all_four_stages: Path) -> None:
    """A benchmark would post-train the same teacher again for each row of its table."""
    shutil.copytree(all_four_stages, "saved")
    config = tiny.config("TinyNewsRec")
    run = run_of(config)
    run.make(system(config))
    for model in MODELS:
        recorded = record(tiny, model)
        assert finished(recorded.run)[0] == finished(run)[0]
        assert finished(recorded.run)[0].reused
        assert not finished(recorded.run)[1].reused
        config = tiny.config(model)
        again = run_of(config)
        again.make(system(config))
        assert [artifact.reused for artifact in finished(again)] == [True, True]


@pytest.mark.parametrize(
    "changed",
    [
        {"student_init": "teacher"},
        {"gradient_momentum": 0.2},
        {"layer_mapping": "last"},
        {"teacher_target_loss_weight": 0.5},
        {"post_train_teacher_learning_rate": 0.5},
        {"teacher_num_hidden_layers": 2},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_decides_the_result_decides_the_fingerprint(tiny: Tiny, changed: dict) -> None:
    """A student trained with other settings would be reused as this one."""
    marks = set()
    for settings in ({}, changed):
        config = tiny.config("NewsBERT", max_steps=1, **settings)
        run = run_of(config)
        marks.add(run.make(system(config)).fingerprint)
    assert len(marks) == 2
