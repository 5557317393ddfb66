"""Texts in padded batches of tokens, the same tokens that the recommender reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from recbole_tinynews.data.news_text import tokenise
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.serving.export.description import NEWS_TOKENS

TEXTS_AT_ONCE = 16  # more would be padded further, and a processor is busy with as many

Encode = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]


class PaddedTexts:
    """Encodes texts in padded batches.

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
        settings, longest = self.settings, self.settings[NEWS_TOKENS]
        if not texts:
            return np.zeros((0, settings["news_dim"]), np.float32)
        prefix = settings["text_prefix"] or ""
        tokens = tokenise(["", *texts], self.tokenizer, longest, prefix=prefix)
        rows = np.arange(1, 1 + len(texts))
        # pad tokens that are pooled too are as many as in training
        width = 0 if settings["mask_padding_in_news_pooling"] else longest
        return encode_padded(tokens, rows, self.pad_token_id, self._encode, width)


def encode_padded(
    tokens: Ragged, rows: NDArray[np.int64], pad_token_id: int, encode: Encode, width: int = 0
) -> NDArray[np.float32]:
    """Vectors of rows of tokens, ``[rows, dim]``; rows of like length are encoded together.

    Args:
        tokens: of texts.
        rows: at least one.
        pad_token_id: what fills a row's end.
        encode: token ids and attention mask, both ``[texts, tokens]`` -> vectors ``[texts, dim]``.
        width: to which all are padded at least.
    """
    order = np.argsort(tokens.lengths_of(rows), kind="stable")
    encoded = []
    for start in range(0, len(order), TEXTS_AT_ONCE):
        some = rows[order[start : start + TEXTS_AT_ONCE]]
        ids = tokens.padded(some, pad_token_id).astype(np.int64)
        more = max(0, width - ids.shape[1])
        ids = np.pad(ids, ((0, 0), (0, more)), constant_values=pad_token_id)
        mask = np.arange(ids.shape[1]) < tokens.lengths_of(some)[:, None]
        encoded.append(encode(ids, mask.astype(np.int64)))
    vectors = np.concatenate(encoded)
    return vectors[np.argsort(order)]
