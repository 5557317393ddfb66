"""News vectors from padded batches of texts, as transformers and onnxruntime run them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.encoder.pooling import AttentionPooling, UnitDense, mean_pooling, projected
from recbole_tinynews.encoder.static_model import LanguageModel
from recbole_tinynews.encoder.text_encoder import pooled_size

NEWS_DIM = "news_dim"
TEXTS_AT_ONCE = 16  # larger batches have more padding, and 16 keep a processor busy

Encode = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""Token ids and attention mask, both ``[texts, tokens]`` -> vectors ``[texts, dim]``."""


class PaddedNewsEncoder(nn.Module):
    """Language model, with one of transformers' attentions, and its heads: pooling, dense layer."""

    def __init__(self, plm: LanguageModel, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.plm, self.kind = plm, settings["news_pooling"]
        self.mask_padding = settings["mask_padding_in_news_pooling"]
        dense = UnitDense if settings["head_init"] == "pretrained" else nn.Linear
        self.heads = nn.ModuleDict({"dense": dense(pooled_size(plm), settings[NEWS_DIM])})
        if self.kind == "attention":
            self.heads["pooling"] = AttentionPooling(plm.config.hidden_size, settings["query_dim"])
        accepted = inspect.signature(plm.forward).parameters
        self._options = {"use_cache": False} if "use_cache" in accepted else {}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """``[texts, news_dim]`` from ids and mask, ``[texts, tokens]``, padded at the end."""
        states = self.plm(
            input_ids=input_ids, attention_mask=attention_mask, **self._options
        ).last_hidden_state
        return self.heads["dense"](projected(self.plm, self._pool(states, attention_mask)))

    def _pool(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        if self.kind == "cls":
            return states[:, 0]
        if self.kind == "last":
            return states[torch.arange(len(states)), attention_mask.sum(dim=1) - 1]
        if self.kind == "weighted_mean":
            weights = attention_mask.cumsum(dim=1) * attention_mask
            weights = weights / weights.sum(dim=1, keepdim=True)
            return (states * weights.unsqueeze(-1)).sum(dim=1)
        mask = attention_mask.bool() if self.mask_padding else None
        return (self.heads["pooling"] if self.kind == "attention" else mean_pooling)(states, mask)


def encode_padded(
    tokens: Ragged, rows: NDArray[np.int64], pad_token_id: int, encode: Encode, width: int = 0
) -> NDArray[np.float32]:
    """Vectors of rows of tokens, ``[rows, dim]``, padded in batches of similar length."""
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
