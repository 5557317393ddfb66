"""The news encoder on padded batches, in the language model's own code: what other formats run.

Here texts are packed without padding (``encoder/text_encoder.py``). Graphs and other libraries read
rectangles, so pad tokens are masked in attention and pooling, and change no vector.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from recbole_tinynews.encoder.pooling import mean_pooling
from recbole_tinynews.serving.export.heads import Heads


class PaddedNewsEncoder(nn.Module):
    """Language model, pooling, dense layer.

    Args:
        plm: the language model, with one of transformers' attentions.
        heads: what follows it; the user encoder is left out.
        settings: ``news_pooling`` and ``mask_padding_in_news_pooling`` are read.
    """

    def __init__(self, plm: PreTrainedModel, heads: Heads, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.plm, self.pooling, self.dense = plm, heads.pooling, heads.dense
        self.first_token = settings["news_pooling"] == "cls"
        self.mask_padding = settings["mask_padding_in_news_pooling"]
        accepted = inspect.signature(plm.forward).parameters
        self.also_given = {"use_cache": False} if "use_cache" in accepted else {}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """News vectors, ``[texts, news_dim]``.

        Shapes:
            input_ids: ``[texts, tokens]``, int64, padded at the end.
            attention_mask: ``[texts, tokens]``, int64: 1 for tokens, 0 for padding.
        """
        states = self.plm(
            input_ids=input_ids, attention_mask=attention_mask, **self.also_given
        ).last_hidden_state
        if self.first_token:
            return self.dense(states[:, 0])
        mask = attention_mask.bool() if self.mask_padding else None
        pool = mean_pooling if self.pooling is None else self.pooling
        return self.dense(pool(states, mask))
