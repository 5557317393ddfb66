"""Batches of inner states: padded, as the papers have them, and packed, as the losses do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recbole_tinynews.encoder.hidden_states import HiddenStates
from recbole_tinynews.model.interface import Encoded, Outputs

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
        states = HiddenStates(ids, hidden, attention, nothing, nothing)
        return outputs_of(self.scores, states=states)


def outputs_of(
    scores: Tensor,
    history: Tensor | None = None,
    candidates: Tensor | None = None,
    user: Tensor | None = None,
    real: Tensor | None = None,
    states: HiddenStates | None = None,
) -> Outputs:
    """Outputs with what a loss reads; every slot has an article unless ``real`` says otherwise."""
    nothing = torch.empty(len(scores), 0, 0)
    history, candidates = (nothing if part is None else part for part in (history, candidates))
    vectors = torch.cat([history, candidates], dim=1)
    real = torch.ones(vectors.shape[:2], dtype=torch.bool) if real is None else real
    news = Encoded(vectors, real, history.shape[1], states=states)
    return Outputs(scores, torch.empty(0) if user is None else user, news)


def with_states(outputs: Outputs, states: HiddenStates | None) -> Outputs:
    """The same outputs with other hidden states."""
    return outputs._replace(news=outputs.news._replace(states=states))


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
