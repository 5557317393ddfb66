"""The formulas of Tiny-NewsRec as plain loops in double precision; imports no package code."""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = Sequence[float]


def softmax(scores: Vector) -> list[float]:
    exponentials = [math.exp(score) for score in scores]
    return [value / sum(exponentials) for value in exponentials]


def cross_entropy(scores: Vector, label: int) -> float:
    return -math.log(softmax(scores)[label])


def weights(scores: Sequence[Vector], label: int) -> list[float]:
    """``exp(-CE_i) / sum_j exp(-CE_j)`` for the scores of each teacher."""
    values = [math.exp(-cross_entropy(of_teacher, label)) for of_teacher in scores]
    return [value / sum(values) for value in values]


def mixed(scores: Sequence[Vector], weight: Vector) -> list[float]:
    return [
        sum(w * of_teacher[c] for w, of_teacher in zip(weight, scores, strict=True))
        for c in range(len(scores[0]))
    ]


def soft_label(student: Vector, teacher: Vector, temperature: float) -> float:
    """``T ** 2 * CE(teacher / T, student / T)``."""
    target = softmax([score / temperature for score in teacher])
    predicted = softmax([score / temperature for score in student])
    entropy = -sum(t * math.log(p) for t, p in zip(target, predicted, strict=True))
    return temperature**2 * entropy


def projected(matrix: Sequence[Vector], bias: Vector, vector: Vector) -> list[float]:
    return [
        sum(m * v for m, v in zip(row, vector, strict=True)) + b
        for row, b in zip(matrix, bias, strict=True)
    ]


def mse(one: Sequence[Vector], other: Sequence[Vector]) -> float:
    """Mean over items and dimensions."""
    squares = [
        (a - b) ** 2
        for row, other_row in zip(one, other, strict=True)
        for a, b in zip(row, other_row, strict=True)
    ]
    return sum(squares) / len(squares) if squares else 0.0


def embedding(
    student: Sequence[Vector],
    teachers: Sequence[Sequence[Vector]],
    weight: Vector,
    projections: Sequence[tuple[Sequence[Vector], Vector]],
    mask: Sequence[bool] | None = None,
) -> float:
    """``sum_i w_i MSE(W_i t_i + b_i, s)`` of one sample, over the items of the mask."""
    kept = [place for place in range(len(student)) if mask is None or mask[place]]
    total = 0.0
    for w, of_teacher, (matrix, bias) in zip(weight, teachers, projections, strict=True):
        imitated = [projected(matrix, bias, of_teacher[place]) for place in kept]
        total += w * mse(imitated, [student[place] for place in kept])
    return total


def mean(values: Vector) -> float:
    return sum(values) / len(values)
