"""Texts as all of their tokens, for users who attend to tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.text_encoder import EncodedTexts, TextEncoder
from recbole_tinynews.encoder.words.padded import PaddedWords


class TokenEncoder(TextEncoder):
    """A language model and a dense layer; a text is the vectors of its tokens (``PaddedWords``).

    ``[CLS]`` and ``[SEP]`` count as tokens, as in attention pooling; pad tokens do not. Attention
    over these vectors with weights ``a`` equals a ``TextEncoder`` that pools with ``a``:
    ``W sum_j a_j h_j + b = sum_j a_j (W h_j + b)``. The pooled text is the mean hidden state.

    Args:
        plm: as in ``TextEncoder``.
        news_dim: size of the vector of a token.
        query_dim: as in ``TextEncoder``.
        length: tokens of the longest text.
        settings: all others of ``TextEncoder`` but ``pooling``.
    """

    def __init__(
        self, plm: PreTrainedModel, news_dim: int, query_dim: int, length: int, **settings: Any
    ) -> None:
        super().__init__(plm, news_dim, query_dim, pooling="mean", **settings)
        self.side_by_side = PaddedWords(news_dim, length)

    def _texts(self, hidden: Tensor, texts: PackedTexts) -> EncodedTexts:
        tokens = self.dense(hidden)
        return EncodedTexts(self._pool(hidden, texts), self.side_by_side(tokens, texts))

    def zeros(self, texts: int) -> Tensor:
        """Vectors of empty texts, ``[texts, length * (news_dim + 1)]``."""
        return self.dense.weight.new_zeros(texts, self.side_by_side.dim)

    def content(self) -> Iterator[str | bytes]:
        """All its weights by name, and what it makes of a text."""
        yield from super().content()
        yield f"{self.side_by_side.length} tokens"
