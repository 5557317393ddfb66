"""Tiny-NewsRec's multi-teacher distillation, in both stages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from recbole_tinynews.distillation.loss_terms import Distillation, Terms, Weights, stacked_scores
from recbole_tinynews.distillation.teacher_weighting import TeacherWeighting, mix_scores, softmax
from recbole_tinynews.model.interface import Encoded, Outputs


class ProjectedEmbeddingLoss(nn.Module):
    """Teacher-weighted mean squared error of ``W_i v^(t_i) + b_i`` against ``v^(s)``.

    Half of ``L_DP_emb`` and ``L_FT_emb`` of Tiny-NewsRec: titles or bodies, news or users.
    Balanced, an item's error is ``2 |p - v|^2 / (|p|^2 + |v|^2)`` with projected vector ``p`` and
    no gradient through the denominator, so vectors of any length weigh the same (our definition);
    for equal lengths it is ``2 (1 - cos)``. With ``start_as_identity``, vectors start in one space;
    otherwise weights are Xavier-uniform and biases zero.
    """

    def __init__(
        self,
        teachers: int,
        teacher_dim: int,
        student_dim: int,
        start_as_identity: bool = False,
        balanced: bool = False,
    ) -> None:
        super().__init__()
        self.balanced = balanced
        self.projections = nn.ModuleList(
            _projection(teacher_dim, student_dim, start_as_identity) for _ in range(teachers)
        )
        self.dims = (teacher_dim, student_dim)

    def forward(
        self,
        student: Tensor,
        teachers: Sequence[Tensor],
        weights: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Mean over items, weighted sum over teachers, mean over the batch.

        ``student`` is ``[batch, items, student_dim]``, each teacher ``[batch, items, teacher_dim]``
        without gradient, ``weights`` ``[batch, teachers]``, ``mask`` ``[batch, items]``.
        """
        self._check_shapes(student, teachers, weights, mask)
        projected = torch.stack(
            [
                project(teacher.detach())
                for project, teacher in zip(self.projections, teachers, strict=True)
            ],
            dim=1,
        )
        errors = self._errors(projected, student.unsqueeze(1).expand_as(projected))
        if mask is None:
            per_teacher = errors.mean(dim=-1)
        else:
            counted = mask.unsqueeze(1).to(errors.dtype)
            per_teacher = (errors * counted).sum(dim=-1) / counted.sum(dim=-1).clamp(min=1)
        return (weights * per_teacher).sum(dim=-1).mean()

    def _errors(self, projected: Tensor, student: Tensor) -> Tensor:
        """Errors ``[batch, teachers, items]``."""
        squares = (projected - student).square()
        if not self.balanced:
            return squares.mean(dim=-1)
        scale = (projected.detach().square() + student.detach().square()).sum(dim=-1)
        return 2 * squares.sum(dim=-1) / scale.clamp(min=torch.finfo(scale.dtype).tiny)

    @torch.no_grad()
    def start(self, projections: Iterable[Tensor]) -> None:
        """Set the projections, ``[student_dim, teacher_dim]`` for each teacher."""
        for module, projection in zip(self.projections, projections, strict=True):
            cast(nn.Linear, module).weight.copy_(projection)

    def _check_shapes(
        self, student: Tensor, teachers: Sequence[Tensor], weights: Tensor, mask: Tensor | None
    ) -> None:
        """Wrong shapes would broadcast silently where a size is 1."""
        batch, items, count = *student.shape[:2], len(self.projections)
        if len(teachers) != count:
            raise ValueError(
                f"ProjectedEmbeddingLoss expects {count} teachers, one for each projection, got "
                f"{len(teachers)}. Build it with the number of teachers that label its batches."
            )
        teacher_dim, student_dim = self.dims
        for name, tensor, expected in (
            ("student", student, (batch, items, student_dim)),
            *(("teacher", teacher, (batch, items, teacher_dim)) for teacher in teachers),
            ("weights", weights, (batch, count)),
            ("mask", mask, (batch, items)),
        ):
            if tensor is not None and tensor.shape != expected:
                raise ValueError(
                    f"ProjectedEmbeddingLoss expects {name} of shape {expected}, got "
                    f"{tuple(tensor.shape)}. Encode the same items with student and teachers."
                )


def _projection(teacher_dim: int, student_dim: int, as_identity: bool) -> nn.Linear:
    projection = nn.Linear(teacher_dim, student_dim)
    (nn.init.eye_ if as_identity else nn.init.xavier_uniform_)(projection.weight)
    nn.init.zeros_(projection.bias)
    return projection


class TinyNewsRecDistillation(Distillation):
    """Base of the losses of both stages of Tiny-NewsRec (EMNLP 2022); a subclass chooses the items.

    Soft labels of mixed scores, projected embeddings of items and user, and the target, with
    teachers weighted for each sample (in the paper by ``softmax``). With ``shared_projection``, a
    teacher has one for items and users (docs/method.md, section 3); with ``aligned``, all start in
    one space and projections as identities; ``balanced`` errors are relative to vector lengths.
    With ``masked``, padding is left out. Weight 0 of ``embedding`` removes the projections.
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
        masked: bool = True,
    ) -> None:
        super().__init__(temperature, weights)
        self.weighting, self.masked = weighting, masked
        if weights.embedding:
            arguments = teachers, teacher_dim, student_dim, aligned, balanced
            self.item_embedding = ProjectedEmbeddingLoss(*arguments)
            self.user_embedding = (
                self.item_embedding if shared_projection else ProjectedEmbeddingLoss(*arguments)
            )

    def items(self, news: Encoded) -> tuple[Tensor, Tensor | None]:
        """Item vectors to compare, ``[batch, items, dim]``, and which are no padding; None: all."""
        raise NotImplementedError

    def terms(self, student: Outputs, teachers: Sequence[Outputs], label: Tensor) -> Terms:
        """Soft labels of the mixed scores, and embedding losses of items and users."""
        scores = stacked_scores(teachers)
        weights = self.weighting(scores, label)
        return {
            "distillation": lambda: self.soft_label(student.scores, mix_scores(scores, weights)),
            "embedding": lambda: sum(self.embedding_losses(student, teachers, weights)),
        }

    def embedding_losses(
        self, student: Outputs, teachers: Sequence[Outputs], weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Losses of items, if ``masked`` without padding, and of users."""
        items, real = self.items(student.news)
        of_teachers = [self.items(teacher.news)[0] for teacher in teachers]
        users = [teacher.user.unsqueeze(1) for teacher in teachers]  # [batch, 1, dim]
        return (
            self.item_embedding(items, of_teachers, weights, real if self.masked else None),
            self.user_embedding(student.user.unsqueeze(1), users, weights),
        )

    def start_projections(self, projections: Sequence[Tensor]) -> None:
        """Set the projections, ``[student_dim, teacher_dim]`` for each teacher."""
        for loss in (self.item_embedding, self.user_embedding):
            loss.start(projections)


class StageOneDistillation(TinyNewsRecDistillation):
    """``L_1``: titles are the items, the body is the user."""

    def items(self, news: Encoded) -> tuple[Tensor, None]:
        """Titles."""
        return news.candidates, None


class StageTwoDistillation(TinyNewsRecDistillation):
    """``L_2``: clicked articles and candidates are the items."""

    def items(self, news: Encoded) -> tuple[Tensor, Tensor]:
        """History, then candidates."""
        return news.all, news.real
