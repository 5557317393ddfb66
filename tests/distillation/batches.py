"""Outputs of students and teachers, as losses get them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recbole_tinynews.encoder.hidden_states import HiddenStates
from recbole_tinynews.model.interface import Encoded, Outputs

BATCH, HISTORY, CANDIDATES, HEADS = 4, 2, 5, 2
LENGTHS = [2, 3, 3, 5]  # of texts
LABEL = torch.tensor([0, 3, 1, 4])
REAL = torch.tensor(  # [batch, history + candidates]
    [[1] * 7, [0, 0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1], [0] * 2 + [1] * 5]
).bool()


def outputs_of(seed: int, layers: int, dim: int) -> Outputs:
    """Random ones, with the states of so many layers; every tensor is a leaf."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    tokens, pairs = sum(LENGTHS), sum(length**2 for length in LENGTHS)
    hidden = {layer: random(tokens, dim) for layer in range(layers + 1)}
    attention = {layer: random(pairs, HEADS) for layer in range(1, layers + 1)}
    ids = np.arange(1, len(LENGTHS) + 1)
    states = HiddenStates(ids, hidden, attention, random(len(ids), dim), torch.empty(0, 0))
    news = Encoded(random(BATCH, HISTORY + CANDIDATES, dim), REAL, HISTORY, states=states)
    return Outputs(2 * random(BATCH, CANDIDATES), random(BATCH, dim), news)


def with_states(outputs: Outputs, states: HiddenStates | None) -> Outputs:
    """The same outputs with other hidden states."""
    return outputs._replace(news=outputs.news._replace(states=states))


def tensors_of(outputs: Outputs) -> list[Tensor]:
    """All that a loss may read of outputs."""
    states = outputs.states
    of_layers = *states.hidden.values(), *states.attention.values()
    return [outputs.scores, outputs.user, outputs.news.all, states.pooled, *of_layers]


def values(loss: tuple[Tensor, ...]) -> list[float]:
    return [float(part.detach()) for part in loss]
