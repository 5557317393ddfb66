"""Losses by name, and their running means for the log and for saved states."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

from torch import Tensor

Losses = float | tuple[float, ...]  # plain values of a tensor, a tuple or a NamedTuple


def named_losses(losses: Any) -> list[tuple[str, float]]:
    """``(name, value)`` of each loss, the sum first where there are several."""
    if not isinstance(losses, tuple):
        return [("train loss", losses)]
    names = getattr(losses, "_fields", [f"train_loss{i + 1}" for i in range(len(losses))])
    named = list(zip((f"{name} loss" for name in names), losses, strict=True))
    return named if len(named) == 1 else [("train loss", sum(losses)), *named]


def plain_losses(losses: Tensor | tuple[Tensor, ...]) -> Losses:
    """The losses as plain numbers, read from the device once."""
    if not isinstance(losses, tuple):
        return losses.item()
    kind: Any = type(losses)
    parts = [part.item() for part in losses]
    return kind(*parts) if hasattr(losses, "_fields") else tuple(parts)


class LossMeans:
    """Running means of the losses that batches return: one tensor, a tuple, or a NamedTuple.

    Sums are kept in float64, so that a run that resumes from a saved state logs the same values as
    one that was never stopped.
    """

    def __init__(
        self,
        sums: Sequence[float] = (),
        names: Sequence[str] | None = None,
        single: bool = False,
        batches: int = 0,
    ) -> None:
        self.sums, self.names = list(sums), names
        self.single, self.batches = single, batches

    def add(self, losses: Losses) -> None:
        """Count the losses of one more batch."""
        self.single = not isinstance(losses, tuple)
        self.names = getattr(losses, "_fields", None)
        values = losses if isinstance(losses, tuple) else (losses,)
        self.sums = [a + b for a, b in zip(self.sums or [0.0] * len(values), values, strict=True)]
        self.batches += 1

    def total(self) -> float:
        """Mean of the sum of all losses."""
        return sum(self.sums) / max(self.batches, 1)

    def means(self) -> Losses:
        """The means, in the type that the batches returned."""
        means = [value / max(self.batches, 1) for value in self.sums]
        if self.single:
            return means[0]
        if self.names is None:
            return tuple(means)
        return _named_tuple(list(self.names))(*means)

    def as_dict(self) -> dict[str, Any]:
        """Plain values from which ``LossMeans(**values)`` is restored."""
        names = None if self.names is None else list(self.names)
        return {
            "sums": self.sums,
            "names": names,
            "single": self.single,
            "batches": self.batches,
        }


def _named_tuple(names: list[str]) -> Any:
    return namedtuple("Losses", names)
