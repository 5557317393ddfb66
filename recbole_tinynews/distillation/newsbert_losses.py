"""NewsBERT's losses: teachers and a student that train jointly on the same batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.distillation.layer_losses import LayerDistillation, mean_squared_error
from recbole_tinynews.distillation.loss_terms import Terms, mean_of
from recbole_tinynews.model.interface import Outputs


class NewsBERTWeights(NamedTuple):
    """Loss weights; 0 removes a loss."""

    distillation: float = 1.0
    hidden: float = 1.0
    embedding: float = 1.0
    news_vector: float = 1.0
    user: float = 0.0
    target: float = 1.0
    teacher_target: float = 1.0


class NewsBERTDistillation(LayerDistillation):
    """``L^s`` and ``L^t`` of NewsBERT (Wu et al., Findings of EMNLP 2021).

    The student's losses are averaged over the teachers and pass them no gradient. Each teacher
    learns from its own ``teacher_target`` alone (both our definition, for NewsBERT-MT). Hidden
    states have one width, and nothing is projected.
    """

    of_teachers = ("teacher_target",)

    def terms(self, student: Outputs, teachers: Sequence[Outputs], label: Tensor) -> Terms:
        """Soft labels, hidden states, embeddings, pooled news, users, and the teachers' target."""
        return {
            **super().terms(student, teachers, label),
            "news_vector": lambda: mean_of(
                _error("news_vector", student.states.pooled, each.states.pooled)
                for each in teachers
            ),
            "user": lambda: mean_of(_error("user", student.user, each.user) for each in teachers),
            "teacher_target": lambda: torch.stack(
                [F.cross_entropy(each.scores, label) for each in teachers]
            ).sum(),
        }


def _error(loss: str, student: Tensor, teacher: Tensor) -> Tensor:
    return mean_squared_error(f"NewsBERT's {loss} loss", student, teacher.detach())
