"""Inner states of a language model: which are wanted, and how they are collected."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.encoder.packing import PackedTexts


class Taps(NamedTuple):
    """Layers whose states are wanted, from 1; hidden state 0 is the embedding output."""

    hidden: frozenset[int] = frozenset()
    attention: frozenset[int] = frozenset()
    pooled: bool = False


NO_TAPS = Taps()
StateName = tuple[str, int]  # kind of a state, and its layer


class States(NamedTuple):
    """Inner states of texts, concatenated, shortest text first, without pad tokens."""

    ids: NDArray[np.int64]  # [texts], in order, without empty texts
    hidden: dict[int, Tensor]  # by layer, [tokens, hidden]
    # by layer, [ordered pairs of tokens of a text, heads]: q . k / sqrt(head_dim), before softmax
    attention: dict[int, Tensor]
    pooled: Tensor  # [texts, hidden], before the dense layer
    vectors: Tensor  # [texts, news_dim], after it

    @classmethod
    def of(cls, ids: NDArray[np.int64], named: Mapping[StateName, Tensor]) -> States:
        """States of these texts from ``named``."""
        hidden, attention = (
            {layer: rows for (kind, layer), rows in named.items() if kind == wanted}
            for wanted in ("hidden", "attention")
        )
        return cls(ids, hidden, attention, named["pooled", 0], named["vectors", 0])

    def named(self) -> dict[StateName, Tensor]:
        """All states by kind and layer."""
        named: dict[StateName, Tensor] = {("hidden", n): part for n, part in self.hidden.items()}
        named.update({("attention", n): part for n, part in self.attention.items()})
        return {**named, ("pooled", 0): self.pooled, ("vectors", 0): self.vectors}


class Tap:
    """Collects the states that ``taps`` selects, pack by pack, in a single pass."""

    def __init__(self, taps: Taps) -> None:
        self.taps = taps
        self._ids: list[NDArray[np.int64]] = []
        self._parts: defaultdict[StateName, list[Tensor]] = defaultdict(list)

    def deepest(self, frozen: int) -> int:
        """Last layer to compute if layer ``frozen``'s output is known; -1: not even embeddings."""
        hidden = (layer for layer in self.taps.hidden if layer < frozen)
        attention = (layer for layer in self.taps.attention if layer <= frozen)
        return max([*hidden, *attention], default=-1)

    def scores_of(self, layer: int) -> list[Tensor] | None:
        """A list for the layer's attention scores; ``None`` if they are not wanted."""
        return [] if layer in self.taps.attention else None

    def keep_hidden(self, layer: int, hidden: Tensor, real: Tensor | None) -> None:
        """Keep the output of a layer, ``[tokens, hidden]``, if it is wanted."""
        if layer in self.taps.hidden:
            self._parts["hidden", layer].append(hidden if real is None else hidden[real])

    def keep_attention(self, layer: int, scores: Sequence[Tensor], texts: PackedTexts) -> None:
        """Keep the scores of each block, ``[texts, heads, length, length]``."""
        for block, mask in zip(scores, texts.masks(), strict=True):
            pairs = block.permute(0, 2, 3, 1)  # [texts, length, length, heads]
            if mask is None:
                part = pairs.flatten(0, 2)
            else:
                part = pairs[mask[:, :, None] & mask[:, None, :]]
            self._parts["attention", layer].append(part)

    def keep_texts(self, ids: NDArray[np.int64], pooled: Tensor, vectors: Tensor) -> None:
        """Keep the pooled texts and vectors of a pack."""
        self._ids.append(ids)
        self._parts["pooled", 0].append(pooled)
        self._parts["vectors", 0].append(vectors)

    def keep_states(self, states: States) -> None:
        """Keep states that were computed earlier."""
        self._ids.append(states.ids)
        for name, part in states.named().items():
            self._parts[name].append(part)

    def states(self) -> States:
        """States collected so far; ``ValueError`` if there are none."""
        if not self._ids:
            raise ValueError(
                "Tap expects at least one text with tokens, got none. Call the news encoder inside "
                "its `tapped` block, with a text that is not empty."
            )
        named = {name: torch.cat(parts) for name, parts in self._parts.items()}
        return States.of(np.concatenate(self._ids), named)
