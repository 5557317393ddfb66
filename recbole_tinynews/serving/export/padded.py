"""News vectors from padded batches, in the language model's own code, for other formats.

The package itself packs texts without padding (``encoder/text_encoder.py``), but graphs and
other libraries need rectangles. Attention masks the padding; pooling treats it as in training.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recbole_tinynews.data.news_text import tokenise
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.pooling import mean_pooling
from recbole_tinynews.serving.export.description import NEWS_TOKENS
from recbole_tinynews.serving.export.heads import Heads

TEXTS_AT_ONCE = 16  # larger batches have more padding, and 16 keep a processor busy

Encode = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""Token ids and attention mask, both ``[texts, tokens]`` -> vectors ``[texts, dim]``."""


class PaddedNewsEncoder(nn.Module):
    """Language model, with one of transformers' attentions, pooling and dense layer."""

    def __init__(self, plm: PreTrainedModel, heads: Heads, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.plm, self.pooling, self.dense = plm, heads.pooling, heads.dense
        self.first_token = settings["news_pooling"] == "cls"
        self.mask_padding = settings["mask_padding_in_news_pooling"]
        accepted = inspect.signature(plm.forward).parameters
        self._options = {"use_cache": False} if "use_cache" in accepted else {}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """``[texts, news_dim]`` from ids and mask, ``[texts, tokens]``, padded at the end."""
        states = self.plm(
            input_ids=input_ids, attention_mask=attention_mask, **self._options
        ).last_hidden_state
        if self.first_token:
            return self.dense(states[:, 0])
        mask = attention_mask.bool() if self.mask_padding else None
        pool = mean_pooling if self.pooling is None else self.pooling
        return self.dense(pool(states, mask))


class PaddedTexts:
    """Encodes texts in padded batches; needs a fast tokenizer."""

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
        """Vectors of texts, ``[texts, dim]``."""
        settings, longest = self.settings, self.settings[NEWS_TOKENS]
        if not texts:
            return np.zeros((0, settings["news_dim"]), np.float32)
        prefix = settings["text_prefix"] or ""
        tokens = tokenise(["", *texts], self.tokenizer, longest, prefix=prefix)
        rows = np.arange(1, 1 + len(texts))
        # pooling over pad tokens needs as many as in training
        width = 0 if settings["mask_padding_in_news_pooling"] else longest
        return encode_padded(tokens, rows, self.pad_token_id, self._encode, width)


def encode_padded(
    tokens: Ragged, rows: NDArray[np.int64], pad_token_id: int, encode: Encode, width: int = 0
) -> NDArray[np.float32]:
    """Vectors of rows (at least one) of tokens, ``[rows, dim]``.

    Rows of similar length share a batch, padded to at least ``width``.
    """
    order = np.argsort(tokens.lengths_of(rows), kind="stable")
    encoded = []
    for start in range(0, len(order), TEXTS_AT_ONCE):
        some = rows[order[start : start + TEXTS_AT_ONCE]]
        ids = tokens.padded(some, pad_token_id).astype(np.int64)
        missing = max(0, width - ids.shape[1])
        ids = np.pad(ids, ((0, 0), (0, missing)), constant_values=pad_token_id)
        mask = np.arange(ids.shape[1]) < tokens.lengths_of(some)[:, None]
        encoded.append(encode(ids, mask.astype(np.int64)))
    return np.concatenate(encoded)[np.argsort(order)]
