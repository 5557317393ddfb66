"""Tiny-NewsRec's distillation from several teachers, the same in both of its stages."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.distillation.embedding import ProjectedEmbeddingLoss
from recbole_tinynews.distillation.soft_label import SoftLabelLoss, mix_scores
from recbole_tinynews.distillation.summands import check_weights, weighted
from recbole_tinynews.distillation.teacher_weights import teacher_weights


class Lesson(NamedTuple):
    """The vectors that the student compares with its teachers' (which have a teacher axis more).

    Shapes:
        scores: ``[batch, candidates]`` (teachers: ``[batch, teachers, candidates]``).
        items: ``[batch, items, dim]``, titles in Stage I, history and candidates in Stage II.
        user: ``[batch, dim]``, the body in Stage I, the user in Stage II.
    """

    scores: Tensor
    items: Tensor
    user: Tensor


class MultiTeacherWeights(NamedTuple):
    """Of each loss; 0 removes it, and the projections of ``embedding``."""

    distillation: float = 1.0
    embedding: float = 1.0
    target: float = 1.0


class MultiTeacherDistillation(nn.Module):
    """``L_1`` (titles and bodies) and ``L_2`` (news and users) of Tiny-NewsRec, EMNLP 2022.

    Soft labels of the teachers' mixed scores, projected embeddings, and the target itself, with the
    teachers weighted anew for each sample.

    Args:
        teachers: M.
        teacher_dim: size of a teacher's vectors.
        student_dim: size of the student's.
        temperature: T of the soft labels.
        weights: of the losses.
        shared_projection: one projection for items and users of a teacher (method.md, section 3).
    """

    def __init__(
        self,
        teachers: int,
        teacher_dim: int,
        student_dim: int,
        temperature: float,
        weights: MultiTeacherWeights,
        shared_projection: bool = False,
    ) -> None:
        super().__init__()
        check_weights(
            "MultiTeacherDistillation",
            weights,
            "Raise distillation_loss_weight, embedding_loss_weight or target_loss_weight.",
        )
        self.weights = weights
        self.soft_label = SoftLabelLoss(temperature)
        if weights.embedding:
            self.item_embedding = ProjectedEmbeddingLoss(teachers, teacher_dim, student_dim)
            self.user_embedding = (
                self.item_embedding
                if shared_projection
                else ProjectedEmbeddingLoss(teachers, teacher_dim, student_dim)
            )

    def forward(
        self, student: Lesson, teachers: Lesson, label: Tensor, items_mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Each summand's mean over the batch, by name: those whose weight is not 0, and no other.

        Shapes:
            label: ``[batch]``, the place of the right candidate.
            items_mask: ``[batch, items]``, True where an item's embedding counts.
        """
        weights = teacher_weights(teachers.scores, label)

        def embedding() -> Tensor:
            of_items = self.item_embedding(student.items, teachers.items, weights, items_mask)
            of_users = self.user_embedding(
                student.user.unsqueeze(1), teachers.user.unsqueeze(2), weights
            )
            return of_items + of_users

        return weighted(
            self.weights,
            {
                "distillation": lambda: self.soft_label(
                    student.scores, mix_scores(teachers.scores, weights)
                ),
                "embedding": embedding,
                "target": lambda: F.cross_entropy(student.scores, label),
            },
        )
