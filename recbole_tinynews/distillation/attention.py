"""Attention distillation: the student's layers imitate the teacher's attention scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from recbole_tinynews.distillation.hidden import mean_squared_error
from recbole_tinynews.distillation.layer_mapping import LayerPair

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
