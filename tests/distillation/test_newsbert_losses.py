from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plain_losses as plain
import pytest
import torch
from batches import LABEL, padded, tensors_of
from torch import Tensor

from recbole_tinynews.distillation.layer_losses import Compared, LayerPair
from recbole_tinynews.distillation.newsbert_losses import NewsBERTDistillation, NewsBERTWeights
from recbole_tinynews.model.interface import Outputs

DIM = 4
PAIRS = [LayerPair(1, 2), LayerPair(2, 4)]
STUDENT, TEACHERS = 0, (1, 2, 3)


def outputs(seed: int) -> Outputs:
    drawn = padded(seed, 4 if seed else 2, DIM).outputs()
    for tensor in tensors_of(drawn):
        tensor.requires_grad_()
    return drawn


def losses(temperature: float = 1.0, teachers: Sequence[int] = TEACHERS) -> Any:
    compared = Compared(PAIRS, True, DIM, DIM)
    weights = NewsBERTWeights(user=1.0)
    module = NewsBERTDistillation(len(teachers), compared, temperature, weights)
    own, others = outputs(STUDENT), [outputs(seed) for seed in teachers]
    return own, others, module(own, others, LABEL)


def mse(one: Tensor, other: Tensor) -> float:
    pairs = list(zip(one.flatten().tolist(), other.flatten().tolist(), strict=True))
    return sum((a - b) ** 2 for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("teachers", [(1,), TEACHERS], ids=["NewsBERT", "NewsBERTMT"])
def test_each_loss_term_equals_its_formula(temperature: float, teachers: tuple[int, ...]) -> None:
    """A wrong formula would be another method under the same name."""
    student, others, found = losses(temperature, teachers)

    def each(term: Any) -> float:
        return plain.mean([term(teacher) for teacher in others])

    def soft(teacher: Outputs) -> float:
        rows = zip(student.scores.tolist(), teacher.scores.tolist(), strict=True)
        return plain.mean([plain.soft_label(own, given, temperature) for own, given in rows])

    def target(of: Outputs) -> float:
        rows = zip(of.scores.tolist(), LABEL.tolist(), strict=True)
        return plain.mean([plain.cross_entropy(scores, y) for scores, y in rows])

    hidden = student.states.hidden
    assert {name: float(value.detach()) for name, value in found._asdict().items()} == {
        "distillation": pytest.approx(each(soft)),
        "hidden": pytest.approx(
            each(lambda t: sum(mse(hidden[i], t.states.hidden[j]) for i, j in PAIRS))
        ),
        "embedding": pytest.approx(each(lambda t: mse(hidden[0], t.states.hidden[0]))),
        "news_vector": pytest.approx(each(lambda t: mse(student.states.pooled, t.states.pooled))),
        "user": pytest.approx(each(lambda t: mse(student.user, t.user))),
        "target": pytest.approx(target(student)),
        "teacher_target": pytest.approx(sum(target(teacher) for teacher in others)),
    }


def test_a_teacher_learns_from_its_own_target_and_nothing_else() -> None:
    """A teacher that is pulled towards its student would get worse at its own task."""
    student, teachers, found = losses()
    of_student = tensors_of(student)
    of_teachers = [tensor for teacher in teachers for tensor in tensors_of(teacher)]
    for name, loss in found._asdict().items():
        reached = [
            [g is not None for g in torch.autograd.grad(loss, of, None, True, allow_unused=True)]
            for of in (of_student, of_teachers)
        ]
        if name == "teacher_target":
            assert not any(reached[0])
            assert sum(reached[1]) == len(teachers)  # the scores of each
        else:
            assert any(reached[0]), name
            assert not any(reached[1]), name
