"""NewsBERT's losses: teachers and a student that train together, on the same batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.distillation.soft_label import SoftLabelLoss
from recbole_tinynews.distillation.summands import mean_of, weighted

TEACHERS = "teachers"  # field of a training batch: what each teacher makes of it, as `Observed`


class Observed(NamedTuple):
    """What the student or a teacher makes of a batch on the way to its scores.

    Shapes:
        scores: ``[batch, candidates]``, raw.
        user: ``[batch, news_dim]``.
        ids: ``[texts]``, the distinct news of the batch, in the order of what follows.
        hidden: ``[tokens, hidden]`` by layer of the *student*: what is compared for it. 0 is the
            embedding output.
        pooled: ``[texts, hidden]``, before the dense layer.
    """

    scores: Tensor
    user: Tensor
    ids: NDArray[np.int64]
    hidden: dict[int, Tensor]
    pooled: Tensor


class JointWeights(NamedTuple):
    """Of each loss; 0 removes it."""

    distillation: float = 1.0
    hidden: float = 1.0
    embedding: float = 1.0
    news_vector: float = 1.0
    user: float = 0.0
    target: float = 1.0
    teacher_target: float = 1.0


class JointDistillation(nn.Module):
    """``L^s`` and ``L^t`` of NewsBERT (Wu et al., Findings of EMNLP 2021).

    The teachers' side of what the student imitates carries no gradient, and is averaged over the
    teachers. Each teacher learns from its own ``teacher_target`` alone; these are added up, so that
    a teacher learns as it would without the others (both our definition, for NewsBERT-MT).

    Args:
        temperature: T of the soft labels, whose loss has the factor ``T ** 2`` (our definition).
        weights: of the losses.
    """

    def __init__(self, temperature: float, weights: JointWeights) -> None:
        super().__init__()
        if not any(weights._replace(teacher_target=0.0)):
            raise ValueError(
                "JointDistillation expects at least one loss of the student whose weight is not "
                "0, got none. Raise distillation_loss_weight or target_loss_weight."
            )
        self.weights = weights
        self.soft_label = SoftLabelLoss(temperature)

    def forward(
        self, student: Observed, teachers: Sequence[Observed], label: Tensor
    ) -> tuple[Tensor, ...]:
        """Each summand's mean over the batch, by name: those whose weight is not 0, and no other.

        Raises:
            ValueError: student and teachers have read other news, or there is no teacher.

        Shapes:
            label: ``[batch]``, the place of the clicked candidate.
        """
        _check_rows(student, teachers)
        return weighted(
            self.weights,
            {
                "distillation": lambda: mean_of(
                    self.soft_label(student.scores, each.scores) for each in teachers
                ),
                "hidden": lambda: mean_of(_hidden(student, each) for each in teachers),
                "embedding": lambda: mean_of(
                    _mse(student.hidden[0], each.hidden[0]) for each in teachers
                ),
                "news_vector": lambda: mean_of(
                    _mse(student.pooled, each.pooled) for each in teachers
                ),
                "user": lambda: mean_of(_mse(student.user, each.user) for each in teachers),
                "target": lambda: F.cross_entropy(student.scores, label),
                "teacher_target": lambda: torch.stack(
                    [F.cross_entropy(each.scores, label) for each in teachers]
                ).sum(),
            },
        )


def _hidden(student: Observed, teacher: Observed) -> Tensor:
    pairs = [(state, teacher.hidden[layer]) for layer, state in student.hidden.items() if layer]
    return torch.stack([_mse(*pair) for pair in pairs]).sum()


def _mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over rows and dimensions; no gradient reaches the teacher."""
    return F.mse_loss(student, teacher.detach().to(student.dtype))  # a stored state may be fp16


def _check_rows(student: Observed, teachers: Sequence[Observed]) -> None:
    """Rows of other news have as many dimensions, and would be compared without an error."""
    if not teachers:
        raise ValueError("JointDistillation expects at least 1 teacher, got none.")
    for teacher in teachers:
        if not np.array_equal(student.ids, teacher.ids):
            raise ValueError(
                "JointDistillation expects student and teachers to read the same news in the same "
                f"order, got {student.ids[:5]}... and {teacher.ids[:5]}... Give both one batch."
            )
