"""Inner states computed by transformers' own code, one padded text after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel

from recbole_tinynews.encoder.one_text import OneTextEncoder

LENGTH = 40  # of a padded text


class Reference:
    """The language model of an encoder in transformers' eager code, with a copy of its weights."""

    def __init__(self, encoder: OneTextEncoder, plm: Any) -> None:
        self.encoder, text_encoder = encoder, encoder.text_encoder
        self.plm = AutoModel.from_pretrained(
            plm,
            attn_implementation="eager",
            num_hidden_layers=text_encoder.plm.config.num_hidden_layers,
        ).eval()
        self.plm.to(text_encoder.dense.weight.dtype)
        self.plm.load_state_dict(text_encoder.plm.state_dict())
        self.asked: list[Tensor] = []  # queries and keys of each layer, in turn
        for layer in self.plm.encoder.layer:
            for part in (layer.attention.self.query, layer.attention.self.key):
                part.register_forward_hook(lambda module, given, made: self.asked.append(made))

    def states(self, text: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Hidden states ``[tokens, hidden]``, attention scores and weights ``[pairs, heads]``."""
        row = self.encoder.tokens.values[self.encoder.tokens.positions(np.array([text]))]
        real = row != self.encoder.text_encoder.pad_token_id
        length = int(real.sum())
        padded = np.full(LENGTH, self.encoder.text_encoder.pad_token_id)
        padded[: len(row)] = row
        self.asked.clear()
        made = self.plm(
            input_ids=torch.from_numpy(padded.astype(np.int64))[None],
            attention_mask=(torch.arange(LENGTH) < length)[None].long(),
            output_hidden_states=True,
            output_attentions=True,
        )
        hidden = [state[0, :length] for state in made.hidden_states]
        weights = [
            each[0, :, :length, :length].permute(1, 2, 0).flatten(0, 1) for each in made.attentions
        ]
        scores, heads = [], self.plm.config.num_attention_heads
        for queries, keys in zip(self.asked[::2], self.asked[1::2], strict=True):
            of_layer = queries.new_zeros(length, length, heads)
            size = queries.shape[-1] // heads
            for i in range(length):
                for j in range(length):
                    for head in range(heads):
                        part = slice(head * size, (head + 1) * size)
                        product = queries[0, i, part] @ keys[0, j, part]
                        of_layer[i, j, head] = product / math.sqrt(size)
            scores.append(of_layer.flatten(0, 1))
        return hidden, scores, weights
