"""Embedding distillation: student vectors imitate the teachers' projected ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ProjectedEmbeddingLoss(nn.Module):
    """Teacher-weighted mean squared error of ``W_i v^(t_i) + b_i`` against ``v^(s)``.

    One half of ``L_DP_emb`` and ``L_FT_emb`` of Tiny-NewsRec: titles or bodies, news or users. Each
    teacher has a projection of its own into the student's space, Xavier-uniform with zero bias.
    """

    def __init__(self, teachers: int, teacher_dim: int, student_dim: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(
            nn.Linear(teacher_dim, student_dim) for _ in range(teachers)
        )
        for projection in self.projections:
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self, student: Tensor, teacher: Tensor, weights: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Mean over dimensions and items, weighted sum over teachers, mean over the batch.

        Shapes:
            student: ``[batch, items, student_dim]``.
            teacher: ``[batch, teachers, items, teacher_dim]``, labels without gradient.
            weights: ``[batch, teachers]``.
            mask: ``[batch, items]``, True where an item counts; ``None``: all do.
        """
        expected = (student.shape[0], len(self.projections), student.shape[1])
        if teacher.shape[:3] != expected:  # items of size 1 would broadcast without an error
            raise ValueError(
                "ProjectedEmbeddingLoss expects teacher vectors [batch, teachers, items, dim] = "
                f"{expected} and a dim, got {tuple(teacher.shape)}. "
                "Encode the same items with student and teachers."
            )
        projected = torch.stack(
            [project(teacher[:, i].detach()) for i, project in enumerate(self.projections)], dim=1
        )
        errors = (
            (projected - student.unsqueeze(1)).square().mean(dim=-1)
        )  # [batch, teachers, items]
        if mask is None:
            per_teacher = errors.mean(dim=-1)
        else:
            counted = mask.unsqueeze(1).to(errors.dtype)
            per_teacher = (errors * counted).sum(dim=-1) / counted.sum(dim=-1).clamp(min=1)
        return (weights * per_teacher).sum(dim=-1).mean()
