"""Soft-label distillation: the student imitates the teachers' scores of the same candidates."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F


def mix_scores(scores: Tensor, weights: Tensor) -> Tensor:
    """Sum of raw scores ``[batch, teachers, candidates]``, weighted by ``[batch, teachers]``."""
    return (weights.unsqueeze(-1) * scores).sum(dim=1)


class SoftLabelLoss(nn.Module):
    """Cross entropy of softened candidate distributions: ``L_DP_distill`` and ``L_FT_distill``.

    ``temperature ** 2`` keeps gradients the same size (Hinton et al. 2015, section 2).
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(
                f"SoftLabelLoss expects a positive, finite temperature, got {temperature}. "
                "Pass 1.0 for no softening."
            )
        self.temperature = temperature

    def forward(self, student_scores: Tensor, teacher_scores: Tensor) -> Tensor:
        """Mean over the batch, shape ``[]``, of raw scores ``[batch, candidates]``."""
        return self.of_samples(student_scores, teacher_scores).mean()

    def of_samples(self, student_scores: Tensor, teacher_scores: Tensor) -> Tensor:
        """Loss of each sample, ``[batch]``."""
        if student_scores.shape != teacher_scores.shape:  # would broadcast without an error
            raise ValueError(
                "SoftLabelLoss expects equal shapes [batch, candidates], got student "
                f"{tuple(student_scores.shape)} and teacher {tuple(teacher_scores.shape)}. "
                "Score the same candidates with both."
            )
        target = F.softmax(teacher_scores.detach() / self.temperature, dim=-1)
        log_student = F.log_softmax(student_scores / self.temperature, dim=-1)
        return -(target * log_student).sum(dim=-1) * self.temperature**2
