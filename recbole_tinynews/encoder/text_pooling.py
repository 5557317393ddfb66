"""Pooling of packed texts: one vector for each text of a row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.attention import ONE_KERNEL
from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.pooling import AttentionPooling, mean_of_rows, mean_pooling


def pool_texts(
    pooling: AttentionPooling | None, hidden: Tensor, texts: PackedTexts, masked: bool
) -> Tensor:
    """Pool each text by attention, or by its mean: ``[tokens, dim]`` -> ``[texts, dim]``.

    ``masked``: whether pad tokens stay out, where there are any.
    """
    masked = masked and texts.real is not None
    if hidden.device.type in ONE_KERNEL and not masked:
        pool = mean_of_rows if pooling is None else pooling.rows
        return pool(hidden, texts.starts)
    blocks = texts.split(hidden)
    masks = texts.masks() if masked else [None] * len(blocks)
    if pooling is None:
        pooled = [mean_pooling(*each) for each in zip(blocks, masks, strict=True)]
    else:
        energies = texts.split(pooling.energy(hidden))  # of all blocks at once
        pooled = [pooling(*each) for each in zip(blocks, masks, energies, strict=True)]
    return torch.cat(pooled)


class MeanOfWords(nn.Module):
    """The mean of the words of each text.

    Attributes:
        dim: size of the vector of a text.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, dim]`` -> ``[texts, dim]``."""
        return pool_texts(None, hidden, texts, masked=True)


class WordPooling(nn.Module):
    """Additive attention over the words of each text.

    Attributes:
        dim: size of the vector of a text.
    """

    def __init__(self, dim: int, query_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.attention = AttentionPooling(dim, query_dim)

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, dim]`` -> ``[texts, dim]``."""
        return pool_texts(self.attention, hidden, texts, masked=True)
