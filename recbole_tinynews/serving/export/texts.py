"""Texts as padded batches of tokens, the same tokens that the recommender reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from recbole_tinynews.data.news_text import tokenise
from recbole_tinynews.serving.export.description import NEWS_TOKENS

TEXTS_AT_ONCE = 64

Encode = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]


class PaddedTexts:
    """Encodes texts in padded batches, texts of like length together.

    Args:
        tokenizer: a fast one.
        settings: of the recommender.
        pad_token_id: what fills a text's end.
        encode: token ids and attention mask, both ``[texts, tokens]`` -> vectors ``[texts, dim]``.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        settings: Mapping[str, Any],
        pad_token_id: int,
        encode: Encode,
    ) -> None:
        self.tokenizer, self.settings, self.pad_token_id = tokenizer, settings, pad_token_id
        self._encode = encode

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts, ``[texts, dim]``, in their order."""
        settings = self.settings
        if not texts:
            return np.zeros((0, settings["news_dim"]), np.float32)
        longest = settings[NEWS_TOKENS]
        tokens = tokenise(
            ["", *texts], self.tokenizer, longest, prefix=settings["text_prefix"] or ""
        )
        lengths = tokens.lengths
        order = np.argsort(lengths[1:], kind="stable") + 1
        vectors = np.empty((len(texts), settings["news_dim"]), np.float32)
        for start in range(0, len(order), TEXTS_AT_ONCE):
            rows = order[start : start + TEXTS_AT_ONCE]
            ids = tokens.padded(rows, self.pad_token_id).astype(np.int64)
            if not settings["mask_padding_in_news_pooling"]:  # pad tokens are pooled too
                more = longest - ids.shape[1]
                ids = np.pad(ids, ((0, 0), (0, more)), constant_values=self.pad_token_id)
            mask = np.arange(ids.shape[1]) < lengths[rows][:, None]
            vectors[rows - 1] = self._encode(ids, mask.astype(np.int64))
        return vectors
