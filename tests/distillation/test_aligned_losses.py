"""AlignedNewsRec's losses, compared with plain loops in double precision."""

from __future__ import annotations

import math

import pytest
from batches import LABEL, REAL, outputs_of
from plain_losses import cross_entropy, mixed, soft_label

from recbole_tinynews.distillation.loss_terms import Weights
from recbole_tinynews.model.alignednewsrec import AlignedDistillation
from recbole_tinynews.model.interface import Outputs

TEACHERS, DIM = 2, 6
STUDENT = outputs_of(0, 0, DIM)
LABELLED = [outputs_of(number, 0, DIM) for number in range(1, 1 + TEACHERS)]


def cosine(first: list[float], second: list[float]) -> float:
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    return dot / math.sqrt(sum(a * a for a in first)) / math.sqrt(sum(b * b for b in second))


def news(of: Outputs, row: int, place: int) -> list[float]:
    return of.news.all[row, place].tolist()


def plain_embedding() -> float:
    errors = []
    for row in range(len(LABEL)):
        for place in range(REAL.shape[1]):
            if REAL[row, place]:
                each = [news(teacher, row, place) for teacher in LABELLED]
                total = [sum(values) for values in zip(*each, strict=True)]
                errors.append(1 - cosine(news(STUDENT, row, place), total))
    return sum(errors) / len(errors)


def plain_distillation(temperature: float) -> float:
    losses = []
    for row, own in enumerate(STUDENT.scores.tolist()):
        mean = mixed([each.scores[row].tolist() for each in LABELLED], [1 / TEACHERS] * TEACHERS)
        losses.append(soft_label(own, mean, temperature))
    return sum(losses) / len(LABEL)


def plain_target() -> float:
    rows = zip(STUDENT.scores.tolist(), LABEL.tolist(), strict=True)
    return sum(cross_entropy(scores, label) for scores, label in rows) / len(LABEL)


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
    assert vectors.grad[~REAL].abs().max() == 0
    assert vectors.grad[REAL].abs().min() > 0
