"""Batches of inner states: padded, as the papers have them, and packed, as the losses do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recbole_tinynews.distillation.outputs import Outputs
from recbole_tinynews.encoder.states import States

BATCH, CANDIDATES, HEADS = 4, 5, 2
LENGTHS = [2, 3, 3, 5]  # shortest text first
LABEL = torch.tensor([0, 3, 1, 4])
MASK = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]  # [texts, length]


class Padded(NamedTuple):
    """Hidden states ``[texts, length, dim]`` and scores ``[texts, heads, length, length]``."""

    scores: Tensor
    hidden: dict[int, Tensor]
    attention: dict[int, Tensor]

    def outputs(self) -> Outputs:
        """The same without padding, text behind text."""
        pairs = MASK[:, :, None] & MASK[:, None, :]
        hidden = {layer: state[MASK] for layer, state in self.hidden.items()}
        attention = {
            layer: scores.permute(0, 2, 3, 1)[pairs] for layer, scores in self.attention.items()
        }
        ids = np.arange(1, len(LENGTHS) + 1)
        nothing = torch.empty(0, 0)
        states = States(ids, hidden, attention, nothing, nothing)
        return Outputs(self.scores, nothing, nothing, nothing, states)


def padded(seed: int, layers: int, dim: int) -> Padded:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    texts, length = MASK.shape
    return Padded(
        2 * random(BATCH, CANDIDATES),
        {layer: random(texts, length, dim) for layer in range(layers + 1)},
        {layer: random(texts, HEADS, length, length) for layer in range(1, layers + 1)},
    )
