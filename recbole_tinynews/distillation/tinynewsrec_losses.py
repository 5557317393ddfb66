"""Tiny-NewsRec's multi-teacher distillation, in both stages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from recbole_tinynews.distillation.embedding import ProjectedEmbeddingLoss
from recbole_tinynews.distillation.loss_terms import Distillation, Terms, Weights
from recbole_tinynews.distillation.outputs import Outputs, stacked_scores
from recbole_tinynews.distillation.soft_label import mix_scores
from recbole_tinynews.distillation.teacher_weighting import TeacherWeighting, softmax


class TinyNewsRecDistillation(Distillation):
    """Base of the losses of both stages of Tiny-NewsRec (EMNLP 2022); a subclass chooses the items.

    Soft labels of mixed scores, projected embeddings of items and user, and the target, with
    teachers weighted for each sample (in the paper by ``softmax``). With ``shared_projection``, a
    teacher has one for items and users (docs/method.md, section 3); with ``aligned``, all start in
    one space and projections as identities; ``balanced`` errors are relative to vector lengths.
    Weight 0 of ``embedding`` removes the projections.
    """

    def __init__(
        self,
        teachers: int,
        teacher_dim: int,
        student_dim: int,
        temperature: float,
        weights: Weights,
        weighting: TeacherWeighting = softmax,
        shared_projection: bool = False,
        aligned: bool = False,
        balanced: bool = False,
    ) -> None:
        super().__init__(temperature, weights)
        self.weighting = weighting
        if weights.embedding:
            arguments = teachers, teacher_dim, student_dim, aligned, balanced
            self.item_embedding = ProjectedEmbeddingLoss(*arguments)
            self.user_embedding = (
                self.item_embedding if shared_projection else ProjectedEmbeddingLoss(*arguments)
            )

    def items(self, outputs: Outputs) -> Tensor:
        """Item vectors to compare, ``[batch, items, dim]``."""
        raise NotImplementedError

    def terms(
        self, student: Outputs, teachers: Sequence[Outputs], label: Tensor, real: Tensor | None
    ) -> Terms:
        """Soft labels of the mixed scores, and embedding losses of ``real`` items and users."""
        scores = stacked_scores(teachers)
        weights = self.weighting(scores, label)

        def embedding() -> Tensor:
            of_items, of_users = self.embedding_losses(student, teachers, weights, real)
            return of_items + of_users

        return {
            "distillation": lambda: self.soft_label(student.scores, mix_scores(scores, weights)),
            "embedding": embedding,
        }

    def embedding_losses(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        weights: Tensor,
        real: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Losses of ``real`` items (``None``: all) and users; ``weights [batch, teachers]``."""
        items = _slices(self.items(each) for each in teachers)
        users = _slices(each.user.unsqueeze(1) for each in teachers)  # [batch, 1, dim]
        return (
            self.item_embedding(self.items(student), items, weights, real),
            self.user_embedding(student.user.unsqueeze(1), users, weights),
        )

    def start_projections(self, projections: Sequence[Tensor]) -> None:
        """Set the projections, ``[student_dim, teacher_dim]`` for each teacher."""
        for loss in (self.item_embedding, self.user_embedding):
            loss.start(projections)


class StageOneDistillation(TinyNewsRecDistillation):
    """``L_1``: titles are the items, the body is the user."""

    def items(self, outputs: Outputs) -> Tensor:
        """Titles."""
        return outputs.candidates


class StageTwoDistillation(TinyNewsRecDistillation):
    """``L_2``: clicked articles and candidates are the items."""

    def items(self, outputs: Outputs) -> Tensor:
        """History, then candidates."""
        return torch.cat([outputs.history, outputs.candidates], dim=1)


def _slices(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Slices of the stacked tensors, whose products torch rounds differently."""
    return torch.stack(list(tensors), dim=1).unbind(dim=1)
