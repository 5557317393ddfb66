"""The stages of NewsBERT and NewsBERT-MT: what each starts from, and what is saved."""

from __future__ import annotations

import pytest
import torch
from recorded import PLM, equal, record, under
from tiny import Tiny, finished, run_of

import recbole_tinynews
from recbole_tinynews.encoder.plm_files import load_plm
from recbole_tinynews.pipeline.systems import system

pytestmark = pytest.mark.whole

MODELS = ["NewsBERT", "NewsBERTMT"]


HEADS = ("news_encoder.text_encoder.pooling.", "news_encoder.text_encoder.dense.")


@pytest.mark.parametrize("model", MODELS)
def test_each_part_starts_from_what_the_system_says(tiny: Tiny, model: str) -> None:
    """Otherwise the post-trained weights would be thrown away silently."""
    recorded = record(tiny, model)
    (student,), (teachers,) = recorded.start_of(model), recorded.teachers
    post_trained, joint = finished(recorded.run)
    assert (post_trained.name, joint.name) == ("post_train_teacher", model)
    backs = reversed(range(len(teachers)))  # the oldest first
    copies = [post_trained.copy(back).load() for back in backs]
    assert len(teachers) == {"NewsBERT": 1, "NewsBERTMT": 2}[model]
    final = post_trained.weights.load()
    assert equal(under(PLM, copies[-1]), under(PLM, final))
    for teacher, copy in zip(teachers, copies, strict=True):
        assert equal(under(PLM, teacher), under(PLM, copy))
    if model == "NewsBERTMT":
        assert not equal(under(PLM, copies[0]), under(PLM, copies[1]))
    plain = dict(load_plm(str(tiny.plm), 2).state_dict())
    assert equal(under(PLM, student), plain)
    for head in HEADS:
        assert equal(under(head, student), under(head, final))
        for teacher in teachers:
            assert equal(under(head, teacher), under(head, final))
    users = [under("user_encoder.", each) for each in (student, *teachers)]
    assert all(equal(users[0], other) for other in users[1:])


def test_the_student_may_start_from_the_teachers_first_layers(tiny: Tiny) -> None:
    everything = {"post_train_teacher_finetune_layers": "all", "student_init": "teacher"}
    recorded = record(tiny, "NewsBERT", **everything)
    final = finished(recorded.run)[0].weights.load()
    (student,) = recorded.start_of("NewsBERT")
    for name, value in student.items():
        if not name.startswith("user_encoder."):
            assert torch.equal(value, final[name]), name
    first = f"{PLM}encoder.layer.0.output.dense.weight"
    plain = load_plm(str(tiny.plm)).get_parameter(first.removeprefix(PLM))
    assert not torch.equal(student[first], plain)


@pytest.mark.parametrize("model", MODELS)
def test_the_saved_model_is_the_student_alone(tiny: Tiny, model: str) -> None:
    """With the teachers in its weights, the saved model would be as large as they are."""
    recorded = record(tiny, model)
    artifact = finished(recorded.run)[-1]
    left, (start,) = artifact.weights.load(), recorded.start_of(model)
    assert left.keys() == start.keys()
    assert {name.split(".")[0] for name in left} == {"news_encoder", "user_encoder"}
    assert not [name for name in left if ".layer.2." in name]
    assert not equal(under("user_encoder.", left), under("user_encoder.", start))
    student = recorded.last_model()
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
    configs = [tiny.config("NewsBERT", **settings) for settings in ({}, changed)]
    recipes = [run_of(config).recipe(system(config)) for config in configs]
    assert len({recipe.fingerprint for recipe in recipes}) == 2
