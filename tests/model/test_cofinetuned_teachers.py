from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import Tiny, World
from torch.nn import functional as F

from recbole_tinynews.files.tensors import load_into, load_weights, save_weights
from recbole_tinynews.model.stages.joint_teachers import CoFinetunedTeachers

SHARED = ("news_encoder.text_encoder.pooling.", "news_encoder.text_encoder.dense.", "user_encoder.")


def world_of(tiny: Tiny, **settings: Any) -> World:
    world = tiny.world(CoFinetunedTeachers, num_teachers=3, **settings)
    for number, teacher in enumerate(world.model.teachers):
        for parameter in teacher.news_encoder.text_encoder.plm.parameters():
            parameter.data += 0.01 * number * torch.randn_like(parameter)
    return world


def test_the_loss_is_the_sum_of_each_teachers_own(tiny: Tiny) -> None:
    """A mean, or one teacher's loss counted several times, would train without an error."""
    world = world_of(tiny)
    model, batch = world.model.train(), world.clicks().collate_fn(range(8))
    scores = []
    for teacher in model.teachers:
        history, candidates = (teacher.news_encoder(batch[n]) for n in ("history", "candidates"))
        user = teacher.user_encoder(history, batch["history"] != 0)
        scores.append((candidates * user[:, None]).sum(-1))
    assert not torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[1], scores[2])
    expected = sum(F.cross_entropy(each, batch["label"]) for each in scores)
    torch.testing.assert_close(model.calculate_loss(batch).target, expected)


def test_every_teacher_trains_and_the_shared_layers_once(tiny: Tiny) -> None:
    """A shared weight that the optimizer holds once per teacher would take several steps."""
    world = world_of(tiny, learning_rate=1e-3, plm_learning_rate=1e-5)
    trainer = world.trainer()
    groups = trainer.optimizer.param_groups
    held = [(id(p), group["lr"]) for group in groups for p in group["params"]]
    assert len(held) == len(dict(held))
    for name, parameter in world.model.named_parameters():
        if parameter.requires_grad:
            assert dict(held)[id(parameter)] == (1e-5 if ".plm." in name else 1e-3), name
    before = {n: p.detach().clone() for n, p in world.model.named_parameters()}
    trainer.fit(world.clicks())
    changed = {n for n, p in world.model.named_parameters() if not torch.equal(p, before[n])}
    for part in (
        "news_encoder.text_encoder.plm.",
        "others.0.news_encoder.text_encoder.plm.",
        "others.1.news_encoder.text_encoder.plm.",
    ):
        assert any(name.startswith(part) for name in changed), part
    assert all(any(name.startswith(part) for name in changed) for part in SHARED)


def test_loaded_teachers_still_share(tiny: Tiny, tmp_path: Path) -> None:
    """Safetensors holds a copy of a shared weight for each of its names; only layers differ."""
    world, place = world_of(tiny), tmp_path / "model.safetensors"
    save_weights(world.model.state_dict(), place)
    other = CoFinetunedTeachers(world.config, world.train)
    load_into(other, load_weights(place), place)
    batch = world.clicks().collate_fn(range(4))
    with torch.no_grad():
        for one, loaded in zip(world.model.eval().teachers, other.eval().teachers, strict=True):
            assert torch.equal(one.score(batch).scores, loaded.score(batch).scores)
    first, _, last = (teacher.news_encoder.text_encoder for teacher in other.teachers)
    assert (last.pooling, last.dense) == (first.pooling, first.dense)
    assert other.teachers[2].user_encoder is other.user_encoder
    assert last.plm is not first.plm
    assert other.parameter_count == tiny.world().model.parameter_count


@pytest.mark.parametrize("pooling", ["attention", "mean"])
def test_a_single_teacher_equals_a_plain_plmnr(tiny: Tiny, pooling: str) -> None:
    """With one teacher this is the finetuning of PLM-NR, and must give the same numbers."""
    world = tiny.world(CoFinetunedTeachers, num_teachers=1, news_pooling=pooling)
    plain, batch = tiny.world(news_pooling=pooling), world.clicks().collate_fn(range(4))
    losses = [each.model.train().calculate_loss(batch).target for each in (world, plain)]
    assert torch.equal(*losses)
