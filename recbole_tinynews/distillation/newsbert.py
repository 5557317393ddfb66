"""NewsBERT's losses: teachers and a student that train together, on the same batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.distillation.hidden import HiddenStateLoss, mean_squared_error
from recbole_tinynews.distillation.inner_states import (
    COUNTED_BY,
    TRAIN_MORE,
    check_teachers,
    states_of,
    taps_of,
)
from recbole_tinynews.distillation.layer_mapping import LayerPair
from recbole_tinynews.distillation.loss_terms import check_weights, mean_of, weighted
from recbole_tinynews.distillation.outputs import Outputs
from recbole_tinynews.distillation.soft_label import SoftLabelLoss


class NewsBERTWeights(NamedTuple):
    """Weight of each loss; 0 removes it."""

    distillation: float = 1.0
    hidden: float = 1.0
    embedding: float = 1.0
    news_vector: float = 1.0
    user: float = 0.0
    target: float = 1.0
    teacher_target: float = 1.0


class NewsBERTDistillation(nn.Module):
    """``L^s`` and ``L^t`` of NewsBERT (Wu et al., Findings of EMNLP 2021).

    The student's losses pass no gradient to the teachers, and are averaged over them. Each teacher
    learns from its own ``teacher_target`` alone; these are added up, so that a teacher learns as it
    would without the others (both our definition, for NewsBERT-MT). No projection is learnt:
    student and teachers share pooling and dense layer, and so have hidden states of one width.

    Args:
        teachers: number of teachers.
        pairs: the layers that are compared. Leave out those whose layer of the student does not
            train: they would add a constant.
        embeddings_train: whether the embedding outputs are compared, for the same reason.
        dim: width of the hidden states.
        temperature: T of the soft labels, whose loss has the factor ``T ** 2`` (our definition).
        weights: weights of the losses.
    """

    counted_by: ClassVar[Mapping[str, str]] = COUNTED_BY

    def __init__(
        self,
        teachers: int,
        pairs: Sequence[LayerPair],
        embeddings_train: bool,
        dim: int,
        temperature: float,
        weights: NewsBERTWeights,
    ) -> None:
        super().__init__()
        self.teachers = teachers
        if not pairs:
            weights = weights._replace(hidden=0.0)
        if not embeddings_train:
            weights = weights._replace(embedding=0.0)
        of_student = weights._replace(teacher_target=0.0)
        check_weights("NewsBERTDistillation", of_student, TRAIN_MORE)
        self.weights = weights
        self.student_taps = taps_of([pair.student for pair in pairs], weights)
        self.teacher_taps = taps_of([pair.teacher for pair in pairs], weights)
        self.soft_label = SoftLabelLoss(temperature)
        self.hidden = HiddenStateLoss(pairs, dim, dim)
        self.embedding = HiddenStateLoss([LayerPair(0, 0)], dim, dim)

    def forward(
        self, student: Outputs, teachers: Sequence[Outputs], label: Tensor
    ) -> tuple[Tensor, ...]:
        """Each loss term whose weight is not 0, by name, as a mean over the batch.

        Shapes:
            label: ``[batch]``, the place of the clicked candidate.
        """
        check_teachers("NewsBERTDistillation", student, teachers, self.teachers)

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
                "target": lambda: F.cross_entropy(student.scores, label),
                "teacher_target": lambda: torch.stack(
                    [F.cross_entropy(each.scores, label) for each in teachers]
                ).sum(),
            },
        )


def _error(loss: str, student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over rows and dimensions; no gradient reaches the teacher."""
    return mean_squared_error(f"NewsBERT's {loss} loss", student, teacher.detach())
