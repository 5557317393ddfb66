"""A text encoder without a language model: word vectors, context, pooling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.dropout import Dropout
from recbole_tinynews.encoder.packing import PackedTexts, tokens_at_once
from recbole_tinynews.encoder.pooling import pool_texts
from recbole_tinynews.encoder.pretrained_heads import UnitDense
from recbole_tinynews.encoder.text_encoder import weights_content


class WordEncoder(nn.Module):
    """The text encoder of NRMS, NAML and others before language models, fully trained.

    ``context`` maps ``(hidden [tokens, word_dim], texts)`` to ``[tokens, dim]``, and ``pooling``
    these to ``[texts, size]``. With ``pretrained_heads``, a text starts as the mean of its word
    vectors (``UnitDense``), to which the pooled text is added with a weight from 0.
    """

    pad_token_id = 0

    def __init__(
        self,
        words: nn.Embedding,
        context: nn.Module,
        pooling: nn.Module,
        dropout: float,
        pretrained_heads: bool = False,
    ) -> None:
        super().__init__()
        self.words, self.dropout = words, Dropout(dropout)
        self.trained_tokens = 0  # encoded with gradients so far
        self.context: Any = context
        self.pooling: Any = pooling
        self.unit_dense: UnitDense | None = None
        if pretrained_heads:
            self.unit_dense = UnitDense(words.embedding_dim, cast("Any", pooling).dim)
            self.own_weight = nn.Parameter(torch.tensor(0.0))

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.words.weight.device

    def mean(self, texts: PackedTexts) -> Tensor:
        """The mean of the word vectors of each text, ``[texts, word_dim]``."""
        return _mean(self.words(texts.token_ids), texts)

    def encode(self, texts: PackedTexts) -> Tensor:
        """Vectors of a row of texts, in its order, ``[texts, size]``."""
        vectors = self.words(texts.token_ids)
        if torch.is_grad_enabled():
            self.trained_tokens += len(vectors)
        words = self.dropout(vectors.to(self.compute_dtype()))
        own = self.pooling(self.dropout(self.context(words, texts)), texts)
        if self.unit_dense is None:
            return own
        return self.unit_dense(_mean(vectors, texts)) + self.own_weight * own

    def zeros(self, texts: int) -> Tensor:
        """Vectors of empty texts, ``[texts, size]``."""
        return self.words.weight.new_zeros(texts, self.pooling.dim)

    def compute_dtype(self) -> torch.dtype:
        """Type of activations: autocast's if it is on, else that of the weights."""
        if torch.is_autocast_enabled(self.device.type):
            return torch.get_autocast_dtype(self.device.type)
        return self.words.weight.dtype

    def tokens_at_once(self) -> int:
        """Number of tokens that are encoded together."""
        # CNN windows, or queries, keys and values
        widest = 3 * max(self.words.embedding_dim, self.context.dim)
        return tokens_at_once(self.device, widest * self.compute_dtype().itemsize)

    def content(self) -> Iterator[str | bytes]:
        """Everything that determines a vector."""
        yield f"{type(self.context).__name__} {type(self.pooling).__name__}"
        yield from weights_content(self)


def _mean(vectors: Tensor, texts: PackedTexts) -> Tensor:
    return pool_texts(None, vectors, texts, masked=True)
