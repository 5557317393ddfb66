"""BERT's layers on packed texts: the results of a language model's own code, and faster.

This is the one place where layers of an architecture are written by hand: one product for queries,
keys and values, and no states of frozen layers computed again.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from recbole_tinynews.encoder.attention import Scores, attend
from recbole_tinynews.encoder.packing import Pack
from recbole_tinynews.encoder.taps import Tap


class BertLayers:
    """A language model with ``embeddings`` and ``encoder.layer``; ``protocol.Layers`` says more.

    Raises:
        AttributeError: it has other parts than BERT's.
    """

    def __init__(self, plm: PreTrainedModel) -> None:
        self.around = [plm, plm.get_submodule("encoder")]
        self.before: list[nn.Module] = [plm.get_submodule("embeddings")]
        self.layers = list(cast("nn.ModuleList", plm.get_submodule("encoder.layer")))
        self.after: list[nn.Module] = []

    def embed(self, token_ids: Tensor, pack: Pack) -> Tensor:
        """Input of the first layer, ``[tokens, hidden]``, from ``[tokens]``."""
        (embeddings,) = self.before
        return torch.cat([embeddings(input_ids=ids).flatten(0, 1) for ids in pack.split(token_ids)])

    def through(
        self,
        numbers: range,
        hidden: Tensor,
        token_ids: Tensor,
        pack: Pack,
        real: Tensor | None,
        tap: Tap | None,
    ) -> Tensor:
        """Output of the last of these layers, which count from 1."""
        for number in numbers:
            scores = None if tap is None else tap.scores_of(number)
            hidden = apply_layer(self.layers[number - 1], hidden, pack, real, scores)
            if tap is not None:
                tap.keep_hidden(number, hidden, real)
                if scores is not None:
                    tap.keep_attention(number, scores, pack, real)
        return hidden


def apply_layer(
    layer: nn.Module,
    hidden: Tensor,
    pack: Pack,
    real: Tensor | None = None,
    scores: Scores | None = None,
) -> Tensor:
    """Output of one layer of BERT's kind, ``[tokens, hidden]``, of texts without padding.

    Shapes:
        hidden: ``[tokens, hidden]``.
        real: ``[tokens]``, True where a token may be attended to; ``None``: everywhere.
        scores: a list that takes the attention scores of each block, ``[texts, heads, length,
            length]``, before mask and softmax; ``None``: they are not kept.

    Raises:
        AttributeError: the layer has other parts than BERT's.
    """
    attention: Any = layer.get_submodule("attention")
    heads: Any = attention.self
    projections = heads.query, heads.key, heads.value
    if all(type(projection) is nn.Linear for projection in projections):
        queries_keys_values = F.linear(  # one multiplication instead of three
            hidden,
            torch.cat([projection.weight for projection in projections]),
            torch.cat([projection.bias for projection in projections]),
        )
    else:  # with adapters
        queries_keys_values = torch.cat([project(hidden) for project in projections], dim=-1)
    masks = [None] * len(pack.blocks) if real is None else pack.split(real)
    dropout = heads.dropout.p if heads.training else 0.0
    context = torch.cat(
        [
            _attend(block, mask, heads.num_attention_heads, dropout, scores)
            for block, mask in zip(pack.split(queries_keys_values), masks, strict=True)
        ]
    )
    hidden = attention.output(context, hidden)
    return layer.get_submodule("output")(layer.get_submodule("intermediate")(hidden), hidden)


def _attend(
    block: Tensor, mask: Tensor | None, heads: int, dropout: float, scores: Scores | None
) -> Tensor:
    """The attention output of each token, ``[texts * length, hidden]``.

    Shapes:
        block: ``[texts, length, 3 * hidden]``, queries, keys and values concatenated.
        mask: ``[texts, length]``, True where a token may be attended to.
    """
    texts, length, _ = block.shape
    queries, keys, values = block.view(texts, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    seen = None if mask is None else mask[:, None, None, :]
    context = attend(queries, keys, values, seen, dropout, scores=scores)
    return context.transpose(1, 2).reshape(texts * length, -1)
