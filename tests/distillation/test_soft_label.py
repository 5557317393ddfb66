from __future__ import annotations

import math

import plain_losses as plain
import pytest
import torch
from torch import Tensor

from recbole_tinynews.distillation.loss_terms import SoftLabelLoss


def random_scores(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_equals_the_formula(temperature: float) -> None:
    """One side not divided by T, or T squared forgotten, as in TinyBERT's code for news."""
    student, teacher = random_scores(7, 5), 2 * random_scores(7, 5, seed=1)
    expected = plain.mean(
        [
            plain.soft_label(s, t, temperature)
            for s, t in zip(student.tolist(), teacher.tolist(), strict=True)
        ]
    )
    assert SoftLabelLoss(temperature)(student, teacher).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", [(2, 1), (1, 3), (3,), (2, 1, 3)])
def test_soft_labels_refuse_a_teacher_that_scored_other_candidates(shape: tuple) -> None:
    """[2, 1] broadcasts against [2, 3]: training would run on a constant target."""
    with pytest.raises(ValueError, match="equal shapes"):
        SoftLabelLoss()(torch.zeros(2, 3), torch.zeros(shape))


@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan])
def test_a_temperature_without_meaning_is_refused(temperature: float) -> None:
    """At infinity all candidates are equal; below zero the worst one is the best."""
    with pytest.raises(ValueError, match="positive, finite temperature"):
        SoftLabelLoss(temperature)
