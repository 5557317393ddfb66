from __future__ import annotations

from typing import Any

import plain_losses as plain
import pytest
import torch
from batches import LABEL, MASK, Padded, padded
from torch import Tensor

from recbole_tinynews.distillation.layer_losses import Compared, layer_pairs
from recbole_tinynews.distillation.mtbert_losses import MTBERTDistillation, MTBERTWeights
from recbole_tinynews.encoder.hidden_states import StateRequest

SUMMANDS = ("distillation", "hidden", "target")
PAIRS = layer_pairs(2, 5, "uniform")
TEACHERS, DIM, TEACHER_DIM = 3, 4, 6


def make(pairs: Any = PAIRS, temperature: float = 1.0, **weights: float) -> MTBERTDistillation:
    torch.manual_seed(0)
    return MTBERTDistillation(
        TEACHERS, Compared(pairs, True, DIM, TEACHER_DIM), temperature, MTBERTWeights(**weights)
    ).double()


def student() -> Padded:
    return padded(1, 2, DIM)


def teachers() -> list[Padded]:
    return [padded(10 + number, 5, TEACHER_DIM) for number in range(TEACHERS)]


def loss_of(module: MTBERTDistillation) -> Any:
    return module(student().outputs(), [each.outputs() for each in teachers()], LABEL)


def values(loss: tuple[Tensor, ...]) -> list[float]:
    return [float(part.detach()) for part in loss]


def by_the_formula(module: MTBERTDistillation, temperature: float) -> list[float]:
    """Padded loops: ``W`` stands on the teacher's side, and weights are not normalised."""
    own, mask = student(), MASK.tolist()
    soft = hidden = 0.0
    for number, other in enumerate(teachers()):
        of_samples = [
            plain.soft_label(y_s, y_i, temperature) / (1 + plain.cross_entropy(y_i, y))
            for y_s, y_i, y in zip(
                own.scores.tolist(), other.scores.tolist(), LABEL.tolist(), strict=True
            )
        ]
        soft += plain.mean(of_samples)
        for pair, projection in zip(PAIRS, module.hidden[number].projections, strict=True):
            hidden += plain.padded_hidden(
                other.hidden[pair.teacher].tolist(),
                own.hidden[pair.student].tolist(),
                mask,
                projection.weight.tolist(),
            )
    target = plain.mean(
        [
            plain.cross_entropy(s, y)
            for s, y in zip(own.scores.tolist(), LABEL.tolist(), strict=True)
        ]
    )
    return [soft, hidden, target]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_each_loss_term_equals_the_formula(temperature: float) -> None:
    """A mean over teachers, or weights that add up to 1, would be another method."""
    module = make(temperature=temperature)
    loss = loss_of(module)
    assert loss._fields == SUMMANDS
    assert values(loss) == pytest.approx(by_the_formula(module, temperature), rel=1e-9)


def test_weights_multiply_their_loss_term_alone() -> None:
    whole = values(loss_of(make()))
    weighted = make(distillation=0.5, hidden=3.0, target=0.2)
    expected = [f * v for f, v in zip([0.5, 3.0, 0.2], whole, strict=True)]
    assert values(loss_of(weighted)) == pytest.approx(expected)


@pytest.mark.parametrize("removed", SUMMANDS)
def test_a_weight_of_zero_removes_a_loss_term_and_its_projections(removed: str) -> None:
    """Unused projections would be saved, and counted as parameters."""
    module = make(**{removed: 0})
    assert loss_of(module)._fields == tuple(name for name in SUMMANDS if name != removed)
    assert len(list(module.parameters())) == (0 if removed == "hidden" else 2 * TEACHERS)
    hidden = frozenset() if removed == "hidden" else frozenset({3, 5})
    assert module.teacher_states == StateRequest(hidden=hidden)


def test_a_term_without_trained_parameters_is_left_out() -> None:
    """Only its projections would learn from it."""
    assert loss_of(make(pairs=[]))._fields == ("distillation", "target")
    with pytest.raises(ValueError, match="at least one loss"):
        make(pairs=[], distillation=0, target=0)


def test_projections_are_separate_and_learn() -> None:
    """A shared one would pull all teachers into one space, which is the task of co-finetuning."""
    module = make()
    weights = [projection.weight for part in module.hidden for projection in part.projections]
    assert len({id(weight) for weight in weights}) == TEACHERS * len(PAIRS)
    own, others = student().outputs(), [each.outputs() for each in teachers()]
    for outputs in (own, *others):
        for tensor in (outputs.scores, *outputs.states.hidden.values()):
            tensor.requires_grad_()
    sum(module(own, others, LABEL)).backward()
    for weight in (*weights, own.scores, own.states.hidden[1], own.states.hidden[2]):
        assert weight.grad.abs().sum() > 0
    for outputs in others:
        tensors = (outputs.scores, *outputs.states.hidden.values())
        assert [tensor.grad for tensor in tensors] == [None] * 7


def test_another_number_of_teachers_is_refused() -> None:
    with pytest.raises(ValueError, match="labelled by 3 teachers, got 2"):
        make()(student().outputs(), [each.outputs() for each in teachers()[:2]], LABEL)
