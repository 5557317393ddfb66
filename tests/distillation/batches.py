"""Outputs of students and teachers: padded, as the papers have them, and packed, as losses do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recbole_tinynews.encoder.hidden_states import HiddenStates
from recbole_tinynews.model.interface import Encoded, Outputs

BATCH, HISTORY, CANDIDATES, HEADS = 4, 2, 5, 2
LENGTHS = [2, 3, 3, 5]  # shortest text first
LABEL = torch.tensor([0, 3, 1, 4])
MASK = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]  # [texts, length]
REAL = torch.tensor(  # [batch, history + candidates]
    [[1] * 7, [0, 0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1], [0] * 2 + [1] * 5]
).bool()


class Padded(NamedTuple):
    """Hidden states ``[texts, length, dim]`` and scores ``[texts, heads, length, length]``."""

    scores: Tensor
    hidden: dict[int, Tensor]
    attention: dict[int, Tensor]
    news: Tensor  # [batch, history + candidates, dim]
    user: Tensor
    pooled: Tensor

    def outputs(self) -> Outputs:
        """The same without padding, text behind text; every tensor is a leaf."""
        pairs = MASK[:, :, None] & MASK[:, None, :]
        hidden = {layer: state[MASK] for layer, state in self.hidden.items()}
        attention = {
            layer: scores.permute(0, 2, 3, 1)[pairs] for layer, scores in self.attention.items()
        }
        ids = np.arange(1, len(LENGTHS) + 1)
        states = HiddenStates(ids, hidden, attention, self.pooled.clone(), torch.empty(0, 0))
        news = Encoded(self.news.clone(), REAL, HISTORY, states=states)
        return Outputs(self.scores.clone(), self.user.clone(), news)


def padded(seed: int, layers: int, dim: int) -> Padded:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    texts, length = MASK.shape
    return Padded(
        2 * random(BATCH, CANDIDATES),
        {layer: random(texts, length, dim) for layer in range(layers + 1)},
        {layer: random(texts, HEADS, length, length) for layer in range(1, layers + 1)},
        random(BATCH, HISTORY + CANDIDATES, dim),
        random(BATCH, dim),
        random(texts, dim),
    )


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
