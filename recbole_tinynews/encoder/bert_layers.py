"""BERT's layers on packed texts: the results of a language model's own code, without padding.

This is the one place where layers of an architecture are written by hand, because it is faster.
``layers_are_berts`` says whether a language model may be run this way.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from recbole_tinynews.encoder.dropout import drop_out
from recbole_tinynews.encoder.packing import Pack, packs

PROBE = [[5, 6, 7], [8, 9, 0]]  # token ids of every vocabulary; the last one is masked
PROBE_TOLERANCE = 1e-4


def layers_of(plm: PreTrainedModel) -> nn.ModuleList:
    """The layers of its encoder, first to last."""
    return cast("nn.ModuleList", plm.get_submodule("encoder.layer"))


def embed(plm: PreTrainedModel, token_ids: Tensor, pack: Pack) -> Tensor:
    """Input of the first layer, ``[tokens, hidden]``, from ``[tokens]``."""
    embeddings = plm.get_submodule("embeddings")
    return torch.cat([embeddings(input_ids=ids).flatten(0, 1) for ids in pack.split(token_ids)])


def apply_layer(
    layer: nn.Module,
    hidden: Tensor,
    pack: Pack,
    real: Tensor | None = None,
    scores: list[Tensor] | None = None,
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
    queries_keys_values = F.linear(  # one multiplication instead of three
        hidden,
        torch.cat([projection.weight for projection in projections]),
        torch.cat([projection.bias for projection in projections]),
    )
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
    block: Tensor, mask: Tensor | None, heads: int, dropout: float, scores: list[Tensor] | None
) -> Tensor:
    """The attention output of each token, ``[texts * length, hidden]``.

    Shapes:
        block: ``[texts, length, 3 * hidden]``, queries, keys and values concatenated.
        mask: ``[texts, length]``, True where a token may be attended to.
    """
    texts, length, _ = block.shape
    queries, keys, values = block.view(texts, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    seen = None if mask is None else mask[:, None, None, :]
    fused = block.is_cuda or (block.dtype == torch.float32 and not dropout)
    if fused and scores is None:
        context = F.scaled_dot_product_attention(queries, keys, values, seen, dropout)
    else:  # a CPU's fused attention has no dropout, and a backward pass many times slower
        energy = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
        if scores is not None:
            scores.append(energy)
        if seen is not None:
            energy = energy.masked_fill(~seen, float("-inf"))
        context = drop_out(energy.softmax(dim=-1), dropout) @ values
    return context.transpose(1, 2).reshape(texts * length, -1)


def layers_are_berts(plm: PreTrainedModel) -> bool:
    """Whether its layers, run here one after the other, give the result of its own encoder.

    An encoder may widen the embeddings first, as ELECTRA's does, end with a further norm, or have
    layers of other parts: run as BERT's they would fail far from here, or give wrong vectors.
    """
    probe = torch.tensor(PROBE)
    real = torch.ones_like(probe).bool()
    real[-1, -1] = False
    (pack,) = packs(np.full(len(probe), probe.shape[1]), probe.numel())
    with torch.no_grad():
        expected = plm(input_ids=probe, attention_mask=real.long()).last_hidden_state[real]
        try:
            hidden = embed(plm, probe.flatten(), pack)
            for layer in layers_of(plm):
                hidden = apply_layer(layer, hidden, pack, real.flatten())
            hidden = hidden[real.flatten()]
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return False
    return hidden.shape == expected.shape and torch.allclose(hidden, expected, atol=PROBE_TOLERANCE)
