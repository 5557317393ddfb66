"""Contexts of words: the layer between word vectors and pooling, with output size ``dim``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.self_attention import SelfAttention

WINDOW = 3  # width of filters, in words


class WordSelfAttention(nn.Module):
    """NRMS: each word attends to all words of its text."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.attention = SelfAttention(in_dim, dim)

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, in_dim]`` -> ``[tokens, dim]``."""
        return self.attention.within_texts(hidden, texts)


class WordCNN(nn.Module):
    """NAML: ``c_i = ReLU(F e_(i-1):(i+1) + b)``, with zeros beyond the ends of a text."""

    def __init__(self, in_dim: int, filters: int) -> None:
        super().__init__()
        self.dim = filters
        self.filters = nn.Linear(WINDOW * in_dim, filters)

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, in_dim]`` -> ``[tokens, filters]``."""
        first = (texts.positions == 0)[:, None]
        before = hidden.roll(1, 0).masked_fill(first, 0)
        after = hidden.roll(-1, 0).masked_fill(first.roll(-1, 0), 0)
        return self.filters(torch.cat([before, hidden, after], dim=1)).relu()
