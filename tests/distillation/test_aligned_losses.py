"""AlignedNewsRec's losses, compared with plain loops in double precision."""

from __future__ import annotations

import math

import pytest
import torch
from batches import outputs_of
from plain_losses import cross_entropy, softmax

from recbole_tinynews.distillation.loss_terms import Weights
from recbole_tinynews.model.alignednewsrec import AlignedDistillation
from recbole_tinynews.model.interface import Outputs

BATCH, HISTORY, CANDIDATES, DIM, TEACHERS = 3, 4, 5, 6, 2


def outputs(seed: int) -> Outputs:
    draw = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    parts = random(BATCH, CANDIDATES), random(BATCH, CANDIDATES, DIM), random(BATCH, HISTORY, DIM)
    return outputs_of(parts[0], parts[2], parts[1], random(BATCH, DIM), REAL)


REAL = torch.ones(BATCH, HISTORY + CANDIDATES, dtype=torch.bool)
REAL[0, :2] = False
STUDENT, LABELLED = outputs(0), [outputs(1), outputs(2)]
LABEL = torch.tensor([0, 2, 4])


def cosine(first: list[float], second: list[float]) -> float:
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    return dot / math.sqrt(sum(a * a for a in first)) / math.sqrt(sum(b * b for b in second))


def news(of: Outputs, row: int, place: int) -> list[float]:
    return of.news.all[row, place].tolist()


def plain_embedding() -> float:
    errors = []
    for row in range(BATCH):
        for place in range(HISTORY + CANDIDATES):
            if REAL[row, place]:
                each = [news(teacher, row, place) for teacher in LABELLED]
                total = [sum(values) for values in zip(*each, strict=True)]
                errors.append(1 - cosine(news(STUDENT, row, place), total))
    return sum(errors) / len(errors)


def plain_distillation(temperature: float) -> float:
    losses = []
    for row in range(BATCH):
        each = [teacher.scores[row].tolist() for teacher in LABELLED]
        mean = [sum(values) / TEACHERS / temperature for values in zip(*each, strict=True)]
        own = softmax([score / temperature for score in STUDENT.scores[row].tolist()])
        target = softmax(mean)
        losses.append(-sum(t * math.log(p) for t, p in zip(target, own, strict=True)))
    return temperature**2 * sum(losses) / BATCH


def plain_target() -> float:
    rows = zip(STUDENT.scores.tolist(), LABEL.tolist(), strict=True)
    return sum(cross_entropy(scores, label) for scores, label in rows) / BATCH


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_each_loss_is_that_of_a_plain_loop(temperature: float) -> None:
    loss = AlignedDistillation(temperature, Weights(0.5, 2.0, 3.0))
    found = loss(STUDENT, LABELLED, LABEL)._asdict()
    assert found["distillation"].item() == pytest.approx(0.5 * plain_distillation(temperature))
    assert found["embedding"].item() == pytest.approx(2.0 * plain_embedding())
    assert found["target"].item() == pytest.approx(3.0 * plain_target())


def test_empty_slots_pull_no_vector() -> None:
    """Their zeros have no direction, and a gradient through them would be noise."""
    vectors = STUDENT.news.all.clone().requires_grad_()
    student = STUDENT._replace(news=STUDENT.news._replace(all=vectors))
    loss = AlignedDistillation(1.0, Weights(0.0, 1.0, 0.0))
    sum(loss(student, LABELLED, LABEL)).backward()
    assert vectors.grad[0, :2].abs().max() == 0
    assert vectors.grad[1].abs().min() > 0


def test_teachers_get_no_gradient() -> None:
    vectors = LABELLED[0].news.all.clone().requires_grad_()
    teachers = [LABELLED[0]._replace(news=LABELLED[0].news._replace(all=vectors)), LABELLED[1]]
    student = STUDENT._replace(scores=STUDENT.scores.clone().requires_grad_())
    sum(AlignedDistillation(1.0, Weights())(student, teachers, LABEL)).backward()
    assert vectors.grad is None


def test_a_loss_without_weight_is_not_computed() -> None:
    assert AlignedDistillation(1.0, Weights(0.0, 1.0, 0.0))(STUDENT, LABELLED, LABEL)._fields == (
        "embedding",
    )
    with pytest.raises(ValueError, match="embedding_loss_weight"):
        AlignedDistillation(1.0, Weights(0.0, 0.0, 0.0))
