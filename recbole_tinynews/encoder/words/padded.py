"""All words of a text in one vector, for later attention over them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.packing import PackedTexts


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
        there = hidden.new_ones(len(hidden)) if texts.real is None else texts.real.to(hidden)
        marked = torch.cat([hidden, there[:, None]], dim=1)
        count = len(texts.starts) - 1
        text = torch.repeat_interleave(texts.starts.diff().long(), output_size=len(hidden))
        padded = marked.new_zeros(count * self.length, self.word_dim + 1)
        return padded.index_copy(0, text * self.length + texts.positions, marked).view(count, -1)


def words_of(vectors: Tensor, word_dim: int) -> Words:
    """The words in vectors of ``PaddedWords``, ``[..., length * (word_dim + 1)]``."""
    words = vectors.unflatten(-1, (-1, word_dim + 1))
    return Words(words[..., :word_dim], words[..., word_dim] > 0)
