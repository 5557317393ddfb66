"""MT-BERT's distillation: several teachers, each weighted by its error on each sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from recbole_tinynews.distillation.layer_losses import (
    Compared,
    LayerDistillation,
    ProjectedHiddenStateLoss,
    compare_hidden,
)
from recbole_tinynews.distillation.loss_terms import Terms, stacked_scores
from recbole_tinynews.distillation.teacher_weighting import TeacherWeighting, inverse_error
from recbole_tinynews.model.interface import Outputs


class MTBERTWeights(NamedTuple):
    """Loss weights; 0 removes a loss, and the projections of ``hidden``."""

    distillation: float = 1.0
    hidden: float = 1.0
    target: float = 1.0


class MTBERTDistillation(LayerDistillation):
    """``sum_i [mean(CE(y_i/T, y_s/T) / (1 + CE(y_i, y))) + MSE(H_s, W_i H_ti)] + CE(y_s, y)``.

    MT-BERT (Wu et al., Findings of ACL 2021), after a public re-implementation. The mean is over
    samples; the sum over teachers is not normalised. The factor ``T ** 2``, the layer pairs, and
    one ``W`` for each teacher and pair are our definition. ``weighting`` of soft labels is
    ``inverse_error`` in the paper.
    """

    hidden_loss = ProjectedHiddenStateLoss

    def __init__(
        self,
        teachers: int,
        compared: Compared,
        temperature: float,
        weights: MTBERTWeights,
        weighting: TeacherWeighting = inverse_error,
    ) -> None:
        super().__init__(teachers, compared, temperature, weights)
        self.weighting = weighting

    def terms(self, student: Outputs, teachers: Sequence[Outputs], label: Tensor) -> Terms:
        """Weighted soft labels and hidden states of paired layers, summed over the teachers."""
        return {
            "distillation": lambda: self._soft_labels(student, teachers, label),
            "hidden": lambda: torch.stack(compare_hidden(self.hidden, student, teachers)).sum(),
        }

    def _soft_labels(self, student: Outputs, teachers: Sequence[Outputs], label: Tensor) -> Tensor:
        weights = self.weighting(stacked_scores(teachers), label)  # [batch, teachers]
        of_samples = torch.stack(
            [self.soft_label.of_samples(student.scores, each.scores) for each in teachers], dim=1
        )
        return (weights * of_samples).sum(1).mean()
