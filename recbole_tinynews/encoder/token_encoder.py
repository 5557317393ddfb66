"""Encodes a text as all of its tokens, for user encoders that attend to tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.text_encoder import EncodedTexts, TextEncoder
from recbole_tinynews.encoder.words.context import PaddedWords


class TokenEncoder(TextEncoder):
    """A language model and a dense layer; a text is its tokens' vectors (``PaddedWords``).

    Attention over them with weights ``a`` equals a ``TextEncoder`` that pools with ``a``:
    ``W sum_j a_j h_j + b = sum_j a_j (W h_j + b)``. The pooled text is the mean hidden state.
    """

    def __init__(
        self, plm: PreTrainedModel, news_dim: int, query_dim: int, length: int, **settings: Any
    ) -> None:
        super().__init__(plm, news_dim, query_dim, pooling="mean", **settings)
        self.padded = PaddedWords(news_dim, length)

    def _is_bag(self, texts: PackedTexts) -> bool:
        """Never: a text is all of its tokens."""
        return False

    def _texts(self, hidden: Tensor, texts: PackedTexts, layers: int) -> EncodedTexts:
        tokens = self.dense(hidden)
        return EncodedTexts(self._pool(hidden, texts, self.pooling), self.padded(tokens, texts))

    def zeros(self, texts: int) -> Tensor:
        """Vectors of empty texts, ``[texts, length * (news_dim + 1)]``."""
        return self.dense.weight.new_zeros(texts, self.padded.dim)

    def content(self) -> Iterator[str | bytes]:
        """All weights by name, and the number of tokens."""
        yield from super().content()
        yield f"{self.padded.length} tokens"
