"""The summands of a student's loss, by the names that stand in the log."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import Tensor


def summands(losses: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """The losses as a NamedTuple with these fields, which RecBole adds up."""
    return _named(tuple(losses))(*losses.values())


@cache
def _named(names: tuple[str, ...]) -> Any:
    """One class for each set of names."""
    return namedtuple("DistillationLoss", names)
