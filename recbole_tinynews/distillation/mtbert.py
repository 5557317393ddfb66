"""MT-BERT's distillation from several teachers, each weighted by its error on each sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.distillation.hidden import ProjectedHiddenStateLoss
from recbole_tinynews.distillation.inner_states import Seen, check_teachers
from recbole_tinynews.distillation.layer_mapping import LayerPair
from recbole_tinynews.distillation.soft_label import SoftLabelLoss
from recbole_tinynews.distillation.states import Taps
from recbole_tinynews.distillation.summands import summands
from recbole_tinynews.distillation.teacher_weights import inverse_error_weights


class MTBERTDistillation(nn.Module):
    """``sum_i [mean(CE(y_i/T, y_s/T) / (1 + CE(y_i, y))) + MSE(H_s, W_i H_ti)] + CE(y_s, y)``.

    MT-BERT (Wu et al., Findings of ACL 2021), after a public re-implementation. The mean is over
    samples; teachers are summed, and their weights are not normalised. The factor ``T ** 2`` (the
    same at T = 1), the layer pairs, and one ``W`` for each teacher and pair are our definition.

    Args:
        teachers: M.
        pairs: of the layers that are compared. Leave out those whose layer of the student does not
            train: nothing but ``W`` would learn from them.
        student_dim: width of the student's hidden states.
        teacher_dim: width of a teacher's.
        temperature: T of the soft labels.
        distillation_weight: of the soft-label loss ``distillation``; 0 removes it.
        hidden_weight: of the ``hidden`` loss; 0 removes it and its projections.
        target_weight: of the ``target`` loss; 0 removes it.
    """

    def __init__(
        self,
        teachers: int,
        pairs: Sequence[LayerPair],
        student_dim: int,
        teacher_dim: int,
        temperature: float = 1.0,
        distillation_weight: float = 1.0,
        hidden_weight: float = 1.0,
        target_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.teachers, self.pairs = teachers, tuple(pairs)
        self.soft_label = SoftLabelLoss(temperature)
        self.distillation_weight, self.target_weight = distillation_weight, target_weight
        self.hidden_weight = hidden_weight if pairs else 0.0
        if not (distillation_weight or self.hidden_weight or target_weight):
            raise ValueError(
                "MTBERTDistillation expects at least one loss whose weight is not 0 and which "
                "depends on a layer that trains, got none. Raise distillation_loss_weight or "
                "target_loss_weight, or train more layers (finetune_layers)."
            )
        if self.hidden_weight:
            self.hidden = nn.ModuleList(
                ProjectedHiddenStateLoss(self.pairs, student_dim, teacher_dim)
                for _ in range(teachers)
            )

    @property
    def student_taps(self) -> Taps:
        """What it needs of the student's inner states."""
        return self._taps([pair.student for pair in self.pairs])

    @property
    def teacher_taps(self) -> Taps:
        """What it needs of a teacher's."""
        return self._taps([pair.teacher for pair in self.pairs])

    def _taps(self, layers: list[int]) -> Taps:
        return Taps(hidden=frozenset(layers if self.hidden_weight else ()))

    def forward(self, student: Seen, teachers: Sequence[Seen], label: Tensor) -> tuple[Tensor, ...]:
        """Each summand by name: those whose weight is not 0, and no other.

        Shapes:
            label: ``[batch]``, the place of the clicked candidate.
        """
        check_teachers("MTBERTDistillation", student, teachers, self.teachers)
        losses: dict[str, Tensor] = {}
        if self.distillation_weight:
            scores = torch.stack([each.scores for each in teachers], dim=1)
            weights = inverse_error_weights(scores, label)  # [batch, teachers]
            of_samples = torch.stack(
                [self.soft_label.of_samples(student.scores, each.scores) for each in teachers],
                dim=1,
            )
            losses["distillation"] = self.distillation_weight * (weights * of_samples).sum(1).mean()
        if self.hidden_weight:
            of_hidden = [
                compare(student.states.hidden, each.states.hidden)
                for compare, each in zip(self.hidden, teachers, strict=True)
            ]
            losses["hidden"] = self.hidden_weight * torch.stack(of_hidden).sum()
        if self.target_weight:
            losses["target"] = self.target_weight * F.cross_entropy(student.scores, label)
        return summands(losses)
