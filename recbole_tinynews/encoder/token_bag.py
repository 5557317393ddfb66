"""Texts as weighted bags of static token vectors: the fast path of a model without layers."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.encoder.packing import PackedTexts
from recbole_tinynews.encoder.pooling import AttentionPooling, softmax_of_parts


class TokenBag(NamedTuple):
    """States of a vocabulary, and their attention scores, which depend on the token alone."""

    states: Tensor  # [vocabulary, hidden]
    energy: Tensor | None  # [vocabulary]; None: the mean is pooled

    @classmethod
    def of(cls, states: Tensor, pooling: AttentionPooling | None) -> TokenBag:
        """The bag of these states."""
        return cls(states, None if pooling is None else pooling.energy(states))

    def pool(self, texts: PackedTexts) -> Tensor:
        """Each text as ``pool_texts`` gives it without a mask, ``[texts, hidden]``."""
        ids, starts = texts.token_ids, texts.starts.long()
        if self.energy is None:
            return F.embedding_bag(ids, self.states, starts[:-1], mode="mean")
        weights = softmax_of_parts(self.energy[ids], starts)
        return F.embedding_bag(
            ids, self.states, starts[:-1], mode="sum", per_sample_weights=weights
        )
