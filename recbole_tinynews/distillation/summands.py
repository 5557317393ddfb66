"""Losses by name, where which ones there are is decided by settings."""

from __future__ import annotations

from collections import namedtuple
from functools import cache
from typing import Any

from torch import Tensor


def summands(**losses: Tensor) -> Any:
    """A NamedTuple of weighted summands: RecBole adds them up, the log shows their names.

    >>> import torch
    >>> summands(target=torch.tensor(1.0), category=torch.tensor(0.5))
    Losses(target=tensor(1.), category=tensor(0.5000))
    """
    return _named(tuple(losses))(*losses.values())


@cache
def _named(names: tuple[str, ...]) -> Any:
    """One class for each set of names."""
    return namedtuple("Losses", names)
