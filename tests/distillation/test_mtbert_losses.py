from __future__ import annotations

from typing import Any

import plain_losses as plain
import pytest
import torch
from batches import LABEL, MASK, Padded, padded, values

from recbole_tinynews.distillation.layer_losses import Compared, layer_pairs
from recbole_tinynews.distillation.mtbert_losses import MTBERTDistillation, MTBERTWeights

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


def test_every_teacher_and_pair_has_a_projection_of_its_own() -> None:
    """A shared one would pull all teachers into one space, which is the task of co-finetuning."""
    weights = [projection.weight for part in make().hidden for projection in part.projections]
    assert len({id(weight) for weight in weights}) == TEACHERS * len(PAIRS)
