"""Named and weighted loss terms."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

RAISE_ONE = "Raise distillation_loss_weight, embedding_loss_weight or target_loss_weight."


def loss_terms(losses: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """The losses as a NamedTuple, which RecBole sums."""
    return _named(tuple(losses))(*losses.values())


def weighted(weights: Any, losses: Mapping[str, Callable[[], Tensor]]) -> tuple[Tensor, ...]:
    """Weighted losses by name; those of weight 0 are neither computed nor logged."""
    named = weights._asdict().items()
    return loss_terms({name: weight * losses[name]() for name, weight in named if weight})


def mean_of(losses: Iterable[Tensor]) -> Tensor:
    """Mean over the teachers' losses, ``[]``."""
    return torch.stack(list(losses)).mean()


def check_weights(name: str, weights: Iterable[float], remedy: str) -> None:
    """Raise ``ValueError`` if all weights are 0."""
    if not any(weights):
        raise ValueError(
            f"{name} expects at least one loss whose weight is not 0, got none. {remedy}"
        )


@cache
def _named(names: tuple[str, ...]) -> Any:
    return namedtuple("Losses", names)
