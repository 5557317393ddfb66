from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from recbole_tinynews.distillation.layer_losses import layer_pairs
from recbole_tinynews.model.stages.joint_teachers import mix_layer_gradients

Layers = list[nn.Module]


def layers(*weights: float) -> Layers:
    """Layers that each multiply by a number."""
    made: Layers = []
    for weight in weights:
        layer = nn.Linear(1, 1, bias=False).double()
        nn.init.constant_(layer.weight, weight)
        made.append(layer)
    return made


def backward(of: Layers) -> None:
    """The loss is the product of all weights: the gradient of each is that of the others."""
    nn.Sequential(*of)(torch.ones(1, 1, dtype=torch.float64)).sum().backward()


def gradients(of: Layers) -> list[float | None]:
    return [None if (g := layer.weight.grad) is None else g.item() for layer in of]


def trained_pair() -> tuple[Layers, Layers]:
    student, teacher = layers(11, 13), layers(2, 3, 5, 7)
    backward(student)
    backward(teacher)
    assert gradients(student) == [13, 11]
    assert gradients(teacher) == [105, 70, 42, 30]
    return student, teacher


def test_two_layers_under_four_by_hand() -> None:
    """g1 = 0.1 (105 + 70) / 2 + 0.9 * 13 = 20.45 and g2 = 0.1 (42 + 30) / 2 + 0.9 * 11 = 13.5."""
    student, teacher = trained_pair()
    mix_layer_gradients(student, [teacher], layer_pairs(2, 4, "uniform"), beta=0.1)
    assert gradients(student) == pytest.approx([20.45, 13.5])
    assert gradients(teacher) == [105, 70, 42, 30]


def test_frozen_teacher_layers_are_left_out_of_the_mean() -> None:
    """Counted as zeros they would shrink every step; the mean of layers 3 and 4 is layer 3's."""
    student, teacher = trained_pair()
    for number in (0, 1, 3):
        teacher[number].weight.grad = None
    mix_layer_gradients(student, [teacher], layer_pairs(2, 4, "uniform"), beta=0.1)
    assert gradients(student) == pytest.approx([13, 0.1 * 42 + 0.9 * 11])


def test_a_frozen_student_layer_stays_frozen() -> None:
    """Momentum alone would train what the settings froze."""
    student, teacher = trained_pair()
    student[0].weight.grad = None
    mix_layer_gradients(student, [teacher], layer_pairs(2, 4, "uniform"), beta=0.1)
    assert gradients(student) == [None, pytest.approx(13.5)]


def test_several_teachers_lend_the_mean_of_their_gradients() -> None:
    """Their sum would scale the momentum by the number of teachers."""
    student, teacher = trained_pair()
    other = layers(1, 1, 1, 1)
    backward(other)
    mix_layer_gradients(student, [teacher, other], layer_pairs(2, 4, "uniform"), beta=0.5)
    first, second = (105 + 70 + 1 + 1) / 4, (42 + 30 + 1 + 1) / 4
    assert gradients(student) == pytest.approx([(first + 13) / 2, (second + 11) / 2])


@pytest.mark.parametrize(
    ("student", "expected"),
    [
        (4, [None, None, 11, 12]),
        (2, [11, 12]),
        (1, [(11 + 12) / 2]),
    ],
)
def test_the_last_layers_lend_as_in_the_authors_version(student, expected) -> None:
    """Teacher layers 11 and 12 train: one pair each, or their mean for a student of one layer."""
    teacher, learner = layers(*[1] * 12), layers(*[1] * student)
    for number in (10, 11):
        teacher[number].weight.grad = torch.full((1, 1), number + 1.0, dtype=torch.float64)
    for layer in learner:
        layer.weight.grad = torch.full((1, 1), math.pi, dtype=torch.float64)
    mix_layer_gradients(learner, [teacher], layer_pairs(student, 12, "last"), beta=1.0)
    assert gradients(learner) == [math.pi if each is None else each for each in expected]
