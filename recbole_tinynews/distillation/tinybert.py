"""TinyBERT's distillation from one teacher, or uniformly from several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.distillation.hidden import HiddenStateLoss, LayerPair, mean_squared_error
from recbole_tinynews.distillation.inner_states import (
    InnerStateDistillation,
    compare_hidden,
    states_of,
)
from recbole_tinynews.distillation.loss_terms import mean_of, weighted
from recbole_tinynews.distillation.outputs import Outputs

HEADS = " Both need the same number of heads; else set attention_loss_weight=0."


def attention_loss(
    student: Mapping[int, Tensor], teacher: Mapping[int, Tensor], pairs: Sequence[LayerPair]
) -> Tensor:
    """Sum over layer pairs of the mean over heads of ``MSE(A_s, A_t)``, shape ``[]``.

    ``L_attn`` of TinyBERT (Jiao et al., Findings of EMNLP 2020). ``A`` are scores before softmax by
    layer, ``[pairs of tokens, heads]``, of each distinct text of a batch (our definition).
    """
    losses = [
        mean_squared_error("attention_loss", student[pair.student], teacher[pair.teacher], HEADS)
        for pair in pairs
    ]
    return torch.stack(losses).sum()


class TinyBERTWeights(NamedTuple):
    """Loss weights; 0 removes a loss."""

    distillation: float = 1.0
    hidden: float = 1.0
    attention: float = 1.0
    embedding: float = 1.0
    target: float = 1.0


class TinyBERTDistillation(InnerStateDistillation):
    """``(1/M) sum_i [L_pred + L_hidn + L_attn + L_embd](student, t_i) + CE(z_s, y)``.

    The joint loss of TinyBERT's terms (Jiao et al., Findings of EMNLP 2020); the uniform mean over
    M teachers is our definition. Without ``embeddings_train`` embedding outputs are not compared.
    Hidden states of different width are projected.
    """

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
        if not pairs:
            weights = weights._replace(hidden=0.0, attention=0.0)
        if not embeddings_train:
            weights = weights._replace(embedding=0.0)
        super().__init__(teachers, pairs, temperature, weights)
        dims = student_dim, teacher_dim
        if weights.hidden:
            self.hidden = _of_each_teacher(teachers, self.pairs, *dims)
        if weights.embedding:
            self.embedding = _of_each_teacher(teachers, (LayerPair(0, 0),), *dims)

    def forward(
        self, student: Outputs, teachers: Sequence[Outputs], label: Tensor
    ) -> tuple[Tensor, ...]:
        """Loss terms of nonzero weight by name; ``label [batch]`` is the target's index."""
        self.check(student, teachers)
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
                "target": lambda: F.cross_entropy(student.click_scores, label),
            },
        )


def _of_each_teacher(teachers: int, pairs: tuple[LayerPair, ...], *dims: int) -> nn.ModuleList:
    return nn.ModuleList(HiddenStateLoss(pairs, *dims) for _ in range(teachers))
