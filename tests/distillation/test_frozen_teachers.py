from __future__ import annotations

import pytest
import torch
from tiny import Tiny, World
from torch import Tensor, nn

from recbole_tinynews.distillation.teachers import FrozenTeachers
from recbole_tinynews.encoder.hidden_states import StateRequest


@pytest.fixture
def world(tiny: Tiny) -> World:
    return tiny.world("TinyNewsRec", num_teachers=3, finetune_teacher_plm_dropout=0.5)


def outputs_of(teachers: FrozenTeachers, world: World) -> list[tuple[Tensor, ...]]:
    every = teachers.outputs(world.clicks().collate_fn(range(4)), StateRequest(pooled=True))
    return [(each.scores, each.user, each.news.all, each.states.pooled) for each in every]


def test_teachers_never_go_into_training_mode(world: World) -> None:
    """With dropout in a teacher the student imitates noise, and news vectors are never reused."""
    members = [*world.teachers().members]
    for teacher in members:
        teacher.train()
    frozen = FrozenTeachers(members)
    expected = outputs_of(frozen, world)
    assert frozen.train() is frozen
    nn.ModuleDict({"teachers": frozen}).train()
    assert not any(module.training for module in frozen.modules())
    torch.testing.assert_close(outputs_of(frozen, world), expected, rtol=0, atol=0)


def test_teachers_are_frozen_and_their_outputs_carry_no_graph(world: World) -> None:
    """A gradient graph through teachers costs memory; an optimizer would change their weights."""
    frozen = world.teachers()
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    frozen.members[0].user_encoder.requires_grad_(True)
    every = [tensor for outputs in outputs_of(frozen, world) for tensor in outputs]
    assert not any(tensor.requires_grad for tensor in every)


def test_scores_are_computed_in_full_precision_inside_mixed_precision(world: World) -> None:
    """Only news vectors may be half precision: rounded scores would tie, and say less."""
    batch = world.clicks().collate_fn(range(4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = world.teachers().outputs(batch)
    for found in outputs:
        products = torch.einsum("bcd,bd->bc", found.news.candidates.float(), found.user)
        assert found.user.dtype == found.scores.dtype == torch.float32
        torch.testing.assert_close(found.scores, products)


def test_no_teacher_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 teacher, got none"):
        FrozenTeachers([])
