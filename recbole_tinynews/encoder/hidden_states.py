"""Hidden states of a language model: which are wanted, which can be observed, collecting them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.encoder.packing import PackedTexts


class StateRequest(NamedTuple):
    """Layers whose states are wanted, from 1; hidden state 0 is the embedding output."""

    hidden: frozenset[int] = frozenset()
    attention: frozenset[int] = frozenset()
    pooled: bool = False


NO_STATES = StateRequest()


class ObservableStates(NamedTuple):
    """Which states of a language model can be observed."""

    hidden: bool  # outputs of each layer
    attention: bool  # scores of each layer's attention

    def refusal(self, request: StateRequest, name: str) -> str | None:
        """Why a model of this name cannot provide these states; ``None`` if it can."""
        # the embedding output and the pooled text are always available
        if (request.hidden - {0} or request.attention) and not self.hidden:
            return (
                "A loss on hidden states expects a language model whose layers can be observed one "
                f"by one, got {name}. Set its weight to 0, or choose another plm."
            )
        if request.attention and not self.attention:
            return (
                "A loss on attention expects a language model that exposes its scores, got "
                f"{name}, whose attention cannot be replaced. Set attention_loss_weight=0, or "
                "choose another plm."
            )
        return None


class HiddenStates(NamedTuple):
    """Hidden states of texts, concatenated, shortest text first, without pad tokens."""

    ids: NDArray[np.int64]  # [texts], in order, without empty texts
    hidden: dict[int, Tensor]  # by layer, [tokens, hidden]
    # by layer, [ordered pairs of tokens of a text, heads]: q . k / sqrt(head_dim), before softmax
    attention: dict[int, Tensor]
    pooled: Tensor  # [texts, hidden], before the dense layer
    vectors: Tensor  # [texts, news_dim], after it


class StateRecorder:
    """Collects the states of a request, pack by pack, in a single pass."""

    def __init__(self, request: StateRequest) -> None:
        self.request = request
        self._ids: list[NDArray[np.int64]] = []
        self._hidden: defaultdict[int, list[Tensor]] = defaultdict(list)  # by layer
        self._attention: defaultdict[int, list[Tensor]] = defaultdict(list)
        self._pooled: list[Tensor] = []
        self._vectors: list[Tensor] = []

    def deepest(self, frozen: int) -> int:
        """Last layer to compute if layer ``frozen``'s output is known; -1: not even embeddings."""
        hidden = (layer for layer in self.request.hidden if layer < frozen)
        attention = (layer for layer in self.request.attention if layer <= frozen)
        return max([*hidden, *attention], default=-1)

    def scores_of(self, layer: int) -> list[Tensor] | None:
        """A list for the layer's attention scores; ``None`` if they are not wanted."""
        return [] if layer in self.request.attention else None

    def add_hidden(self, layer: int, hidden: Tensor, real: Tensor | None) -> None:
        """Keep the output of a layer, ``[tokens, hidden]``, if it is wanted."""
        if layer in self.request.hidden:
            self._hidden[layer].append(hidden if real is None else hidden[real])

    def add_attention(self, layer: int, scores: Sequence[Tensor], texts: PackedTexts) -> None:
        """Keep the scores of each block, ``[texts, heads, length, length]``."""
        for block, mask in zip(scores, texts.masks(), strict=True):
            pairs = block.permute(0, 2, 3, 1)  # [texts, length, length, heads]
            if mask is None:
                part = pairs.flatten(0, 2)
            else:
                part = pairs[mask[:, :, None] & mask[:, None, :]]
            self._attention[layer].append(part)

    def add_texts(self, ids: NDArray[np.int64], pooled: Tensor, vectors: Tensor) -> None:
        """Keep the pooled texts and vectors of a pack."""
        self._ids.append(ids)
        self._pooled.append(pooled)
        self._vectors.append(vectors)

    def states(self) -> HiddenStates:
        """States collected so far; ``ValueError`` if there are none."""
        if not self._ids:
            raise ValueError(
                "StateRecorder expects at least one text with tokens, got none. Call the news "
                "encoder inside its `record_states` block, with a text that is not empty."
            )
        hidden, attention = (
            {layer: torch.cat(parts) for layer, parts in by_layer.items()}
            for by_layer in (self._hidden, self._attention)
        )
        both = torch.cat(self._pooled), torch.cat(self._vectors)
        return HiddenStates(np.concatenate(self._ids), hidden, attention, *both)
