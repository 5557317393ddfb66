"""BERT's layers on packed texts, equal to transformers' code but with one product for q, k, v."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from recbole_tinynews.encoder.attention import Rules, Scores, attend_stacked
from recbole_tinynews.encoder.generic_layers import first_position
from recbole_tinynews.encoder.hidden_states import ObservableStates, StateRecorder
from recbole_tinynews.encoder.packing import PackedTexts


class BertLayers:
    """``Layers`` of BERT; ``AttributeError`` for other parts."""

    def __init__(self, plm: PreTrainedModel) -> None:
        self.observable = ObservableStates(hidden=True, attention=True)
        self.around = [plm, plm.get_submodule("encoder")]
        self.before: list[nn.Module] = [plm.get_submodule("embeddings")]
        self.layers = list(cast("nn.ModuleList", plm.get_submodule("encoder.layer")))
        self.after: list[nn.Module] = []
        self.first_position = first_position(plm)

    def embed(self, texts: PackedTexts) -> Tensor:
        """Input of the first layer, ``[tokens, hidden]``."""
        (embeddings,) = self.before
        positions = texts.positions + self.first_position
        if texts.real is not None and self.first_position:
            # RoBERTa's padding has its own position
            positions = torch.where(texts.real, positions, self.first_position - 1)
        return embeddings(
            input_ids=texts.token_ids[None],
            position_ids=positions[None],
            # the default is as short as the position table
            token_type_ids=torch.zeros_like(texts.token_ids)[None],
        )[0]

    def through(
        self, numbers: range, hidden: Tensor, texts: PackedTexts, recorder: StateRecorder | None
    ) -> Tensor:
        """Output of the last of these layers, counted from 1."""
        for number in numbers:
            scores = None if recorder is None else recorder.scores_of(number)
            hidden = apply_layer(self.layers[number - 1], hidden, texts, scores)
            if recorder is not None:
                recorder.add_hidden(number, hidden, texts.real)
                if scores is not None:
                    recorder.add_attention(number, scores, texts)
        return hidden


def apply_layer(
    layer: nn.Module, hidden: Tensor, texts: PackedTexts, scores: Scores | None = None
) -> Tensor:
    """Output of a BERT layer, ``[tokens, hidden]``; ``scores`` collects those before softmax."""
    attention: Any = layer.get_submodule("attention")
    heads: Any = attention.self
    projections = heads.query, heads.key, heads.value
    if all(type(projection) is nn.Linear for projection in projections):
        # The key's bias shifts all scores of a query equally, which the softmax ignores: its
        # gradient is rounding errors, which Adam amplifies. A loss on scores does train it.
        key_bias = heads.key.bias.detach() if scores is None else heads.key.bias
        biases = heads.query.bias, key_bias, heads.value.bias
        queries_keys_values = F.linear(  # one multiplication instead of three
            hidden,
            torch.cat([projection.weight for projection in projections]),
            torch.cat(biases),
        )
    else:  # with adapters
        queries_keys_values = torch.cat([project(hidden) for project in projections], dim=-1)
    stacked = queries_keys_values.view(len(hidden), 3, heads.num_attention_heads, -1)
    rules = Rules(heads.dropout.p if heads.training else 0.0)
    context = attend_stacked(stacked, texts, rules, scores)
    hidden = attention.output(context.flatten(1), hidden)
    return layer.get_submodule("output")(layer.get_submodule("intermediate")(hidden), hidden)
