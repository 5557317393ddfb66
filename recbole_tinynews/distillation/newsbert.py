"""NewsBERT's losses: teachers and a student that train jointly on the same batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.distillation.hidden import HiddenStateLoss, LayerPair, mean_squared_error
from recbole_tinynews.distillation.inner_states import InnerStateDistillation, states_of
from recbole_tinynews.distillation.loss_terms import mean_of, weighted
from recbole_tinynews.distillation.outputs import Outputs


class NewsBERTWeights(NamedTuple):
    """Loss weights; 0 removes a loss."""

    distillation: float = 1.0
    hidden: float = 1.0
    embedding: float = 1.0
    news_vector: float = 1.0
    user: float = 0.0
    target: float = 1.0
    teacher_target: float = 1.0


class NewsBERTDistillation(InnerStateDistillation):
    """``L^s`` and ``L^t`` of NewsBERT (Wu et al., Findings of EMNLP 2021).

    The student's losses are averaged over the teachers and pass them no gradient. Each teacher
    learns from its own ``teacher_target`` alone (both our definition, for NewsBERT-MT). Hidden
    states have one width, ``dim``, and nothing is projected. Without ``embeddings_train`` embedding
    outputs are constant and not compared.
    """

    def __init__(
        self,
        teachers: int,
        pairs: Sequence[LayerPair],
        embeddings_train: bool,
        dim: int,
        temperature: float,
        weights: NewsBERTWeights,
    ) -> None:
        if not pairs:
            weights = weights._replace(hidden=0.0)
        if not embeddings_train:
            weights = weights._replace(embedding=0.0)
        of_student = weights._replace(teacher_target=0.0)
        super().__init__(teachers, pairs, temperature, weights, of_student)
        self.hidden = HiddenStateLoss(pairs, dim, dim)
        self.embedding = HiddenStateLoss([LayerPair(0, 0)], dim, dim)

    def forward(
        self, student: Outputs, teachers: Sequence[Outputs], label: Tensor
    ) -> tuple[Tensor, ...]:
        """Loss terms of nonzero weight by name; ``label [batch]`` is the target's index."""
        self.check(student, teachers)

        def hidden(loss: HiddenStateLoss) -> Tensor:
            own = states_of(student).hidden
            return mean_of(loss(own, states_of(each).hidden) for each in teachers)

        return weighted(
            self.weights,
            {
                "distillation": lambda: mean_of(
                    self.soft_label(student.scores, each.scores) for each in teachers
                ),
                "hidden": lambda: hidden(self.hidden),
                "embedding": lambda: hidden(self.embedding),
                "news_vector": lambda: mean_of(
                    _error("news_vector", states_of(student).pooled, states_of(each).pooled)
                    for each in teachers
                ),
                "user": lambda: mean_of(
                    _error("user", student.user, each.user) for each in teachers
                ),
                "target": lambda: F.cross_entropy(student.click_scores, label),
                "teacher_target": lambda: torch.stack(
                    [F.cross_entropy(each.click_scores, label) for each in teachers]
                ).sum(),
            },
        )


def _error(loss: str, student: Tensor, teacher: Tensor) -> Tensor:
    return mean_squared_error(f"NewsBERT's {loss} loss", student, teacher.detach())
