from __future__ import annotations

import pytest
import torch
from torch import nn

from recbole_tinynews.distillation.layer_losses import layer_pairs
from recbole_tinynews.model.stages.joint_teachers import mix_layer_gradients


def layers(*weights: float) -> list[nn.Linear]:
    """Layers that each multiply by a number; the gradient of each is the product of the others."""
    made = [nn.Linear(1, 1, bias=False).double() for _ in weights]
    for layer, weight in zip(made, weights, strict=True):
        nn.init.constant_(layer.weight, weight)
    nn.Sequential(*made)(torch.ones(1, 1, dtype=torch.float64)).sum().backward()
    return made


def gradients(of: list[nn.Linear]) -> list[float | None]:
    return [None if (grad := layer.weight.grad) is None else grad.item() for layer in of]


@pytest.mark.parametrize("frozen", [False, True])
def test_two_layers_under_four_by_hand(frozen: bool) -> None:
    """g1 = 0.1 (105 + 70) / 2 + 0.9 * 13 = 20.45 and g2 = 0.1 (42 + 30) / 2 + 0.9 * 11 = 13.5."""
    student, teacher = layers(11, 13), layers(2, 3, 5, 7)
    if frozen:  # momentum alone would train what the settings froze
        student[0].weight.grad = None
    mix_layer_gradients(student, [teacher], layer_pairs(2, 4, "uniform"), beta=0.1)
    assert gradients(student) == pytest.approx([None if frozen else 20.45, 13.5])
    assert gradients(teacher) == [105, 70, 42, 30]
