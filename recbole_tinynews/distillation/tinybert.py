"""TinyBERT's distillation from one teacher, or uniformly from several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.distillation.attention import attention_loss
from recbole_tinynews.distillation.hidden import HiddenStateLoss
from recbole_tinynews.distillation.inner_states import (
    COUNTED_BY,
    TRAIN_MORE,
    check_teachers,
    compare_hidden,
    states_of,
    taps_of,
)
from recbole_tinynews.distillation.layer_mapping import LayerPair
from recbole_tinynews.distillation.loss_terms import check_weights, mean_of, weighted
from recbole_tinynews.distillation.outputs import Outputs
from recbole_tinynews.distillation.soft_label import SoftLabelLoss


class TinyBERTWeights(NamedTuple):
    """Weight of each loss; 0 removes it."""

    distillation: float = 1.0
    hidden: float = 1.0
    attention: float = 1.0
    embedding: float = 1.0
    target: float = 1.0


class TinyBERTDistillation(nn.Module):
    """``(1/M) sum_i [L_pred + L_hidn + L_attn + L_embd](student, t_i) + CE(z_s, y)``.

    The terms are TinyBERT's (Jiao et al., Findings of EMNLP 2020), in one joint loss; the uniform
    mean over M teachers is our definition, and with M = 1 it is TinyBERT itself.
    ``L_pred`` has the factor ``T ** 2`` (our definition; the same at T = 1).

    Args:
        teachers: number of teachers.
        pairs: the layers that are compared. Leave out those whose layer of the student does not
            train: they would add a constant.
        embeddings_train: whether the embedding outputs are compared, for the same reason.
        student_dim: width of the student's hidden states.
        teacher_dim: width of a teacher's hidden states; if it differs, a projection is learnt.
        temperature: T of the soft labels.
        weights: weights of the losses.
    """

    counted_by: ClassVar[Mapping[str, str]] = COUNTED_BY

    def __init__(
        self,
        teachers: int,
        pairs: Sequence[LayerPair],
        embeddings_train: bool,
        student_dim: int,
        teacher_dim: int,
        temperature: float,
        weights: TinyBERTWeights,
    ) -> None:
        super().__init__()
        self.teachers, self.pairs = teachers, tuple(pairs)
        self.soft_label = SoftLabelLoss(temperature)
        if not pairs:
            weights = weights._replace(hidden=0.0, attention=0.0)
        if not embeddings_train:
            weights = weights._replace(embedding=0.0)
        check_weights("TinyBERTDistillation", weights, TRAIN_MORE)
        self.weights = weights
        self.student_taps = taps_of([pair.student for pair in pairs], weights)
        self.teacher_taps = taps_of([pair.teacher for pair in pairs], weights)
        dims = student_dim, teacher_dim
        if weights.hidden:
            self.hidden = _of_each_teacher(teachers, self.pairs, *dims)
        if weights.embedding:
            self.embedding = _of_each_teacher(teachers, (LayerPair(0, 0),), *dims)

    def forward(
        self, student: Outputs, teachers: Sequence[Outputs], label: Tensor
    ) -> tuple[Tensor, ...]:
        """Each loss term whose weight is not 0, by name.

        Shapes:
            label: ``[batch]``, the place of the clicked candidate.
        """
        check_teachers("TinyBERTDistillation", student, teachers, self.teachers)
        return weighted(
            self.weights,
            {
                "distillation": lambda: mean_of(
                    self.soft_label(student.scores, each.scores) for each in teachers
                ),
                "hidden": lambda: mean_of(compare_hidden(self.hidden, student, teachers)),
                "attention": lambda: mean_of(
                    attention_loss(
                        states_of(student).attention, states_of(each).attention, self.pairs
                    )
                    for each in teachers
                ),
                "embedding": lambda: mean_of(compare_hidden(self.embedding, student, teachers)),
                "target": lambda: F.cross_entropy(student.scores, label),
            },
        )


def _of_each_teacher(teachers: int, pairs: tuple[LayerPair, ...], *dims: int) -> nn.ModuleList:
    return nn.ModuleList(HiddenStateLoss(pairs, *dims) for _ in range(teachers))
