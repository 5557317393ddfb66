"""The terms of a loss, by their names in the log."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor


def loss_terms(losses: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """The losses as a NamedTuple with these fields, which RecBole adds up."""
    return _named(tuple(losses))(*losses.values())


def weighted(weights: Any, losses: Mapping[str, Callable[[], Tensor]]) -> tuple[Tensor, ...]:
    """Each loss times its weight; one whose weight is 0 is neither computed nor in the log.

    Args:
        weights: a NamedTuple with the names of the losses.
        losses: functions that compute the losses, by name.
    """
    named = weights._asdict().items()
    return loss_terms({name: weight * losses[name]() for name, weight in named if weight})


def mean_of(losses: Iterable[Tensor]) -> Tensor:
    """Mean over teachers of the loss under each, ``[]``."""
    return torch.stack(list(losses)).mean()


def check_weights(name: str, weights: Iterable[float], remedy: str) -> None:
    """Refuse weights that leave nothing to learn.

    Raises:
        ValueError: all weights are 0.
    """
    if not any(weights):
        raise ValueError(
            f"{name} expects at least one loss whose weight is not 0, got none. {remedy}"
        )


@cache
def _named(names: tuple[str, ...]) -> Any:
    """A NamedTuple class with these fields, made once."""
    return namedtuple("Losses", names)
