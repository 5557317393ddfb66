"""Text encoders with word vectors, as used before language models: words, context, pooling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.dropout import Dropout
from recbole_tinynews.encoder.hidden_states import StateRecorder
from recbole_tinynews.encoder.identity_heads import UnitDense
from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.pooling import AttentionPooling, SelfAttention, pool_texts
from recbole_tinynews.encoder.text_encoder import EncodedTexts, TextVectors

WINDOW = 3  # width of filters, in words


class WordEncoder(TextVectors):
    """The text encoder of NRMS, NAML and others before language models, fully trained.

    ``context`` maps ``(hidden [tokens, word_dim], texts)`` to ``[tokens, dim]``, and ``pooling``
    these to ``[texts, size]``. With ``identity_head``, a text starts as the mean of its word
    vectors (``UnitDense``), to which the pooled text is added with a weight from 0.
    """

    def __init__(
        self,
        words: nn.Embedding,
        context: nn.Module,
        pooling: nn.Module,
        dropout: float,
        identity_head: bool = False,
    ) -> None:
        super().__init__()
        self.words, self.dropout = words, Dropout(dropout)
        self.context: Any = context
        self.pooling: Any = pooling
        self.unit_dense: UnitDense | None = None
        if identity_head:
            self.unit_dense = UnitDense(words.embedding_dim, cast("Any", pooling).dim)
            self.own_weight = nn.Parameter(torch.tensor(0.0))

    def encode(
        self,
        texts: PackedTexts,
        frozen: Tensor | None = None,
        recorder: StateRecorder | None = None,
    ) -> EncodedTexts:
        """Encodings of a row of texts, in its order; no layer is frozen or recorded."""
        vectors = self.words(texts.token_ids)
        if torch.is_grad_enabled():
            self.trained_texts += len(texts.pack.members)
            self.trained_tokens += len(vectors)
        words = self.dropout(vectors.to(self.compute_dtype()))
        pooled = self.pooling(self.dropout(self.context(words, texts)), texts)
        if self.unit_dense is None:
            return EncodedTexts(pooled, pooled)
        mean = pool_texts(None, vectors, texts, masked=True)
        return EncodedTexts(mean, self.unit_dense(mean) + self.own_weight * pooled)

    def zeros(self, texts: int) -> Tensor:
        """Vectors of empty texts, ``[texts, size]``."""
        return self.words.weight.new_zeros(texts, self.pooling.dim)

    def width(self) -> int:
        """Numbers per token in its widest layer: CNN windows, or queries, keys and values."""
        return 3 * max(self.words.embedding_dim, self.context.dim)

    def identity_heads(self) -> Iterator[UnitDense]:
        """Its one."""
        if self.unit_dense is not None:
            yield self.unit_dense

    def content(self) -> Iterator[str | bytes]:
        """Everything that determines a vector."""
        yield f"{type(self.context).__name__} {type(self.pooling).__name__}"
        yield from super().content()


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


class WordPooling(nn.Module):
    """Additive attention over the words of each text."""

    def __init__(self, dim: int, query_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.attention = AttentionPooling(dim, query_dim)

    def forward(self, hidden: Tensor, texts: PackedTexts) -> Tensor:
        """``[tokens, dim]`` -> ``[texts, dim]``."""
        return pool_texts(self.attention, hidden, texts, masked=True)
