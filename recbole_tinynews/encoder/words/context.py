"""Contexts of words: the layer between word vectors and pooling, with output size ``dim``."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.self_attention import SelfAttention

WINDOW = 3  # width of filters, in words: NAML, NPA, TANR and LSTUR


class Words(NamedTuple):
    """The words of texts."""

    vectors: Tensor  # [..., length, dim], zeros after the end of a text
    real: Tensor  # [..., length], True for words, False for pad tokens


class PaddedWords(nn.Module):
    """Concatenates the words of a text, each with a flag that is 0 for pad tokens."""

    def __init__(self, word_dim: int, length: int) -> None:
        super().__init__()
        self.word_dim, self.length = word_dim, length
        self.dim = length * (word_dim + 1)

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, word_dim]`` -> ``[texts, dim]``."""
        real = hidden.new_ones(len(hidden)) if texts.real is None else texts.real.to(hidden)
        marked = torch.cat([hidden, real[:, None]], dim=1)
        count = len(texts.starts) - 1
        text = torch.repeat_interleave(texts.starts.diff().long(), output_size=len(hidden))
        padded = marked.new_zeros(count * self.length, self.word_dim + 1)
        return padded.index_copy(0, text * self.length + texts.positions, marked).view(count, -1)


def words_of(vectors: Tensor, word_dim: int) -> Words:
    """The words in vectors of ``PaddedWords``, ``[..., length * (word_dim + 1)]``."""
    words = vectors.unflatten(-1, (-1, word_dim + 1))
    return Words(words[..., :word_dim], words[..., word_dim] > 0)


class NoContext(nn.Module):
    """Words without context."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, dim]`` -> ``[tokens, dim]``."""
        return hidden


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


class CNNSelfAttention(nn.Module):
    """``WordCNN``, then multi-head self-attention within each text."""

    def __init__(self, in_dim: int, dim: int, head_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.cnn = WordCNN(in_dim, dim)
        self.self_attention = SelfAttention(dim, dim, head_dim)

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, in_dim]`` -> ``[tokens, dim]``."""
        return self.self_attention.within_texts(self.cnn(hidden, texts), texts)
