"""Inner states of a language model, collected while it encodes, without a second pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.distillation.states import States, Taps
from recbole_tinynews.encoder.packing import PackedTexts


class Tap:
    """Collects the inner states that ``taps`` asks for, from one pack of texts after the other."""

    def __init__(self, taps: Taps) -> None:
        self.taps = taps
        self._ids: list[NDArray[np.int64]] = []
        self._hidden: dict[int, list[Tensor]] = {layer: [] for layer in sorted(taps.hidden)}
        self._attention: dict[int, list[Tensor]] = {layer: [] for layer in sorted(taps.attention)}
        self._pooled: list[Tensor] = []
        self._vectors: list[Tensor] = []

    def deepest(self, frozen: int) -> int:
        """The last layer that must be computed, though the output of layer ``frozen`` is known.

        -1: none, not even the embeddings.
        """
        hidden = (layer for layer in self.taps.hidden if layer < frozen)
        attention = (layer for layer in self.taps.attention if layer <= frozen)
        return max([*hidden, *attention], default=-1)

    def scores_of(self, layer: int) -> list[Tensor] | None:
        """The list that the layer puts its attention scores into; ``None``: they are not wanted."""
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
        """Keep the pooled texts and the vectors of a pack."""
        self._ids.append(ids)
        self._pooled.append(pooled)
        self._vectors.append(vectors)

    def keep_states(self, states: States) -> None:
        """Keep the states of texts that are known already."""
        self._ids.append(states.ids)
        for kept, known in (
            (self._hidden, states.hidden),
            (self._attention, states.attention),
        ):
            for layer, part in known.items():
                kept[layer].append(part)
        self._pooled.append(states.pooled)
        self._vectors.append(states.vectors)

    def states(self) -> States:
        """All states collected so far.

        Raises:
            ValueError: nothing was encoded, or no text had any token.
        """
        if not self._ids:
            raise ValueError(
                "Tap expects at least one text with tokens to be encoded under it, got none. Call "
                "the news encoder inside of its `tapped` block, with a text that is not empty."
            )
        return States(
            np.concatenate(self._ids),
            {layer: torch.cat(parts) for layer, parts in self._hidden.items()},
            {layer: torch.cat(parts) for layer, parts in self._attention.items()},
            torch.cat(self._pooled),
            torch.cat(self._vectors),
        )
