from __future__ import annotations

import math

import plain_losses as plain
import pytest
import torch
from torch import Tensor

from recbole_tinynews.distillation.loss_terms import SoftLabelLoss
from recbole_tinynews.distillation.teacher_weighting import mix_scores


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


def gradient(temperature: float) -> Tensor:
    student = random_scores(3, 5).requires_grad_()
    SoftLabelLoss(temperature)(student, random_scores(3, 5, seed=1)).backward()
    assert student.grad is not None
    return student.grad


def test_a_high_temperature_leaves_the_gradient_its_size() -> None:
    """Without T squared the loss would vanish beside the target loss as T grows.

    In the limit the gradient is that of (student - teacher) ** 2 / 2, centred, over candidates.
    """
    difference = random_scores(3, 5) - random_scores(3, 5, seed=1)
    limit = (difference - difference.mean(dim=-1, keepdim=True)) / 5 / 3
    torch.testing.assert_close(gradient(1e6), limit, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(gradient(1e6), gradient(1e7), rtol=1e-3, atol=1e-6)


def test_a_student_that_agrees_has_no_gradient() -> None:
    student = random_scores(3, 5).requires_grad_()
    SoftLabelLoss(2.0)(student, random_scores(3, 5) + 7).backward()  # a constant changes nothing
    torch.testing.assert_close(
        student.grad, torch.zeros(3, 5, dtype=torch.float64), rtol=0, atol=1e-15
    )


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


def test_scores_are_mixed_as_the_formula_says() -> None:
    scores, weights = random_scores(6, 4, 5), random_scores(6, 4, seed=1).softmax(dim=-1)
    expected = [plain.mixed(s, w) for s, w in zip(scores.tolist(), weights.tolist(), strict=True)]
    torch.testing.assert_close(
        mix_scores(scores, weights), torch.tensor(expected, dtype=torch.float64)
    )


def test_scores_are_mixed_before_the_softmax() -> None:
    """Mixed probabilities are another method: a sure teacher would be outvoted by unsure ones."""
    scores = torch.tensor([[[4.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    weights = torch.tensor([[0.5, 0.5]])
    before = mix_scores(scores, weights).softmax(dim=-1)
    torch.testing.assert_close(before, torch.tensor([[2.0, 0.5, 0.0]]).softmax(dim=-1))
    after = (weights.unsqueeze(-1) * scores.softmax(dim=-1)).sum(dim=1)
    assert (before - after).abs().max() > 0.05
