"""Plain encoders of one text, word by word: the papers' equations as they stand."""

from __future__ import annotations

import torch
from plain_users import Weights, attention_pooling, linear, part, self_attention
from torch import Tensor

HEAD_DIM = 16  # NRMS


def cnn(weights: Weights, words: list[Tensor]) -> list[Tensor]:
    """``c_i = ReLU(F [w_(i-1); w_i; w_(i+1)] + b)``, zeros beyond the ends."""
    end = torch.zeros_like(words[0])
    padded = [end, *words, end]
    windows = [torch.cat(padded[place : place + 3]) for place in range(len(words))]
    return [linear(part(weights, "filters"), window).clamp(min=0) for window in windows]


def in_context(weights: Weights, words: list[Tensor], head_dim: int) -> list[Tensor]:
    """The words in the context that the weights are of."""
    if "cnn.filters.weight" in weights:  # CenNewsRec
        words = cnn(part(weights, "cnn"), words)
        attention = part(weights, "self_attention")
    elif "filters.weight" in weights:
        return cnn(weights, words)
    else:
        attention = part(weights, "attention")
    heads = len(attention["projections.weight"]) // 3 // head_dim
    return self_attention(attention, words, heads)


def text_words(weights: Weights, token_ids: list[int], head_dim: int = HEAD_DIM) -> list[Tensor]:
    """The words of a text in their context."""
    if not token_ids:
        return []
    vectors = [weights["words.weight"][token] for token in token_ids]
    return in_context(part(weights, "context"), vectors, head_dim)


def text_vector(weights: Weights, token_ids: list[int], head_dim: int = HEAD_DIM) -> Tensor:
    """The vector of a text; zeros for one without any word."""
    words = text_words(weights, token_ids, head_dim)
    if not words:
        return torch.zeros_like(weights["pooling.attention.projection.weight"][0])
    return attention_pooling(part(weights, "pooling.attention"), words)
