"""Soft labels and weighted loss terms: the base of the losses between a student and teachers."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.encoder.hidden_states import NO_STATES, StateRequest
from recbole_tinynews.model.interface import Outputs

Terms = dict[str, Callable[[], Tensor]]


class SoftLabelLoss(nn.Module):
    """Cross entropy of softened candidate distributions: ``L_DP_distill`` and ``L_FT_distill``.

    ``temperature ** 2`` keeps gradients the same size (Hinton et al. 2015, section 2).
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(
                f"SoftLabelLoss expects a positive, finite temperature, got {temperature}. "
                "Pass 1.0 for no softening."
            )
        self.temperature = temperature

    def forward(self, student_scores: Tensor, teacher_scores: Tensor) -> Tensor:
        """Mean over the batch, shape ``[]``, of raw scores ``[batch, candidates]``."""
        return self.of_samples(student_scores, teacher_scores).mean()

    def of_samples(self, student_scores: Tensor, teacher_scores: Tensor) -> Tensor:
        """Loss of each sample, ``[batch]``."""
        if student_scores.shape != teacher_scores.shape:  # would broadcast without an error
            raise ValueError(
                "SoftLabelLoss expects equal shapes [batch, candidates], got student "
                f"{tuple(student_scores.shape)} and teacher {tuple(teacher_scores.shape)}. "
                "Score the same candidates with both."
            )
        target = F.softmax(teacher_scores.detach() / self.temperature, dim=-1)
        log_student = F.log_softmax(student_scores / self.temperature, dim=-1)
        return -(target * log_student).sum(dim=-1) * self.temperature**2


class Weights(NamedTuple):
    """Weights of the losses on scores, vectors and clicks; 0 removes a loss."""

    distillation: float = 1.0
    embedding: float = 1.0
    target: float = 1.0


class Distillation(nn.Module):
    """Base of the losses between a student and its teachers.

    ``weights`` is a NamedTuple by loss; those of weight 0 are neither computed nor logged.
    ``temperature`` is that of soft labels.
    """

    remedy: ClassVar[str] = (
        "Raise distillation_loss_weight, embedding_loss_weight or target_loss_weight."
    )
    of_teachers: ClassVar[tuple[str, ...]] = ()  # losses that the student does not learn from
    # the unit that each loss is averaged over, by loss, where not samples
    loss_units: ClassVar[Mapping[str, str]] = {}
    student_states: StateRequest = NO_STATES
    teacher_states: StateRequest = NO_STATES

    def __init__(self, temperature: float, weights: Any) -> None:
        super().__init__()
        learned = {name for name, weight in weights._asdict().items() if weight}
        if learned <= set(self.of_teachers):
            raise ValueError(
                f"{type(self).__name__} expects at least one loss whose weight is not 0, got none. "
                f"{self.remedy}"
            )
        self.weights, self.soft_label = weights, SoftLabelLoss(temperature)

    def terms(self, student: Outputs, teachers: Sequence[Outputs], label: Tensor) -> Terms:
        """Functions of all losses but ``target``, by name; arguments as for ``forward``."""
        raise NotImplementedError

    def forward(
        self, student: Outputs, teachers: Sequence[Outputs], label: Tensor
    ) -> tuple[Tensor, ...]:
        """Loss terms of nonzero weight by name, means over the batch.

        Teachers that know texts alone label the text's part of a student's scores. ``label
        [batch]``: index of the target.
        """
        labelled = student
        if student.text_scores is not None and all(each.text_scores is None for each in teachers):
            labelled = student._replace(scores=student.text_scores)
        terms = self.terms(labelled, teachers, label)
        terms["target"] = lambda: F.cross_entropy(student.scores, label)
        weights = self.weights._asdict()
        if without := terms.keys() - weights.keys():
            raise ValueError(
                f"{type(self).__name__} expects a weight of each loss, got none of "
                f"{', '.join(sorted(without))}. Add a field to {type(self.weights).__name__}."
            )
        return loss_terms(
            {name: weights[name] * terms[name]() for name in weights if weights[name]}
        )


def loss_terms(losses: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """The losses as a NamedTuple, which RecBole sums."""
    return _named(tuple(losses))(*losses.values())


def mean_of(losses: Iterable[Tensor]) -> Tensor:
    """Mean over the teachers' losses, ``[]``."""
    return torch.stack(list(losses)).mean()


def stacked_scores(teachers: Sequence[Outputs]) -> Tensor:
    """Scores of all teachers, ``[batch, teachers, candidates]``."""
    return torch.stack([teacher.scores for teacher in teachers], dim=1)


@cache
def _named(names: tuple[str, ...]) -> Any:
    return namedtuple("Losses", names)
