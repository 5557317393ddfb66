"""Inner states of a language model: which are wanted, and how they are collected."""

from __future__ import annotations

from collections.abc import Sequence
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


class States(NamedTuple):
    """Inner states of texts, concatenated, shortest text first, without pad tokens."""

    ids: NDArray[np.int64]  # [texts], in order, without empty texts
    hidden: dict[int, Tensor]  # by layer, [tokens, hidden]
    # by layer, [ordered pairs of tokens of a text, heads]: q . k / sqrt(head_dim), before softmax
    attention: dict[int, Tensor]
    pooled: Tensor  # [texts, hidden], before the dense layer
    vectors: Tensor  # [texts, news_dim], after it


class Tap:
    """Collects the states that ``taps`` selects, pack by pack, in a single pass."""

    def __init__(self, taps: Taps) -> None:
        self.taps = taps
        self._ids: list[NDArray[np.int64]] = []
        self._hidden: dict[int, list[Tensor]] = {layer: [] for layer in sorted(taps.hidden)}
        self._attention: dict[int, list[Tensor]] = {layer: [] for layer in sorted(taps.attention)}
        self._pooled: list[Tensor] = []
        self._vectors: list[Tensor] = []

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
            self._hidden[layer].append(hidden if real is None else hidden[real])

    def keep_attention(self, layer: int, scores: Sequence[Tensor], texts: PackedTexts) -> None:
        """Keep the scores of each block, ``[texts, heads, length, length]``."""
        for block, mask in zip(scores, texts.masks(), strict=True):
            pairs = block.permute(0, 2, 3, 1)  # [texts, length, length, heads]
            if mask is None:
                self._attention[layer].append(pairs.flatten(0, 2))
            else:
                self._attention[layer].append(pairs[mask[:, :, None] & mask[:, None, :]])

    def keep_texts(self, ids: NDArray[np.int64], pooled: Tensor, vectors: Tensor) -> None:
        """Keep the pooled texts and vectors of a pack."""
        self._ids.append(ids)
        self._pooled.append(pooled)
        self._vectors.append(vectors)

    def keep_states(self, states: States) -> None:
        """Keep states that were computed earlier."""
        self.keep_texts(states.ids, states.pooled, states.vectors)
        for layer, part in states.hidden.items():
            self._hidden[layer].append(part)
        for layer, part in states.attention.items():
            self._attention[layer].append(part)

    def states(self) -> States:
        """States collected so far; ``ValueError`` if there are none."""
        if not self._ids:
            raise ValueError(
                "Tap expects at least one text with tokens, got none. Call the news encoder inside "
                "its `tapped` block, with a text that is not empty."
            )
        return States(
            np.concatenate(self._ids),
            {layer: torch.cat(parts) for layer, parts in self._hidden.items()},
            {layer: torch.cat(parts) for layer, parts in self._attention.items()},
            torch.cat(self._pooled),
            torch.cat(self._vectors),
        )
