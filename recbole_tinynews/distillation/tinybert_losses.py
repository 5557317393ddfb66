"""TinyBERT's distillation from one teacher, or uniformly from several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from recbole_tinynews.distillation.layer_losses import (
    LayerDistillation,
    LayerPair,
    mean_squared_error,
)
from recbole_tinynews.distillation.loss_terms import Terms, mean_of
from recbole_tinynews.model.interface import Outputs

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


class TinyBERTDistillation(LayerDistillation):
    """``(1/M) sum_i [L_pred + L_hidn + L_attn + L_embd](student, t_i) + CE(z_s, y)``.

    The joint loss of TinyBERT's terms (Jiao et al., Findings of EMNLP 2020); the uniform mean over
    M teachers is our definition. Without ``embeddings_train`` embedding outputs are not compared.
    Hidden states of different width are projected.
    """

    def terms(self, student: Outputs, teachers: Sequence[Outputs], label: Tensor) -> Terms:
        """Soft labels, hidden states and attention of paired layers, and embeddings."""
        return {
            **super().terms(student, teachers, label),
            "attention": lambda: mean_of(
                attention_loss(student.states.attention, each.states.attention, self.pairs)
                for each in teachers
            ),
        }
