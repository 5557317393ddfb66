"""Named and weighted loss terms."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.distillation.outputs import Outputs
from recbole_tinynews.distillation.soft_label import SoftLabelLoss
from recbole_tinynews.encoder.states import NO_TAPS, Taps

Terms = dict[str, Callable[[], Tensor]]


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
    counted_by: ClassVar[Mapping[str, str]] = {}
    student_taps: Taps = NO_TAPS
    teacher_taps: Taps = NO_TAPS

    def __init__(self, temperature: float, weights: Any) -> None:
        super().__init__()
        learned = {name for name, weight in weights._asdict().items() if weight}
        if learned <= set(self.of_teachers):
            raise ValueError(
                f"{type(self).__name__} expects at least one loss whose weight is not 0, got none. "
                f"{self.remedy}"
            )
        self.weights, self.soft_label = weights, SoftLabelLoss(temperature)

    def terms(
        self, student: Outputs, teachers: Sequence[Outputs], label: Tensor, real: Tensor | None
    ) -> Terms:
        """Functions of all losses but ``target``, by name; arguments as for ``forward``."""
        raise NotImplementedError

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        label: Tensor,
        real: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Loss terms of nonzero weight by name, means over the batch.

        Teachers that know texts alone label the text's part of a student's scores. ``label
        [batch]``: index of the target; ``real [batch, items]``: which are no padding.
        """
        labelled = student
        if student.text_scores is not None and all(each.text_scores is None for each in teachers):
            labelled = student._replace(scores=student.text_scores)
        terms = self.terms(labelled, teachers, label, real)
        terms["target"] = lambda: F.cross_entropy(student.scores, label)
        named = self.weights._asdict().items()
        return loss_terms({name: weight * terms[name]() for name, weight in named if weight})


def loss_terms(losses: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """The losses as a NamedTuple, which RecBole sums."""
    return _named(tuple(losses))(*losses.values())


def mean_of(losses: Iterable[Tensor]) -> Tensor:
    """Mean over the teachers' losses, ``[]``."""
    return torch.stack(list(losses)).mean()


@cache
def _named(names: tuple[str, ...]) -> Any:
    return namedtuple("Losses", names)
