"""Losses by name, and their running means for the log and for saved states."""

from __future__ import annotations

import itertools
from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from recbole_tinynews.data.batch import plan_of
from recbole_tinynews.processes.gather import all_reduce

Losses = float | tuple[float, ...]  # plain values of a tensor, a tuple or a NamedTuple


def named_losses(losses: Any) -> list[tuple[str, float]]:
    """``(name, value)`` of each loss, the sum first where there are several."""
    if not isinstance(losses, tuple):
        return [("train loss", losses)]
    names = getattr(losses, "_fields", [f"train_loss{i + 1}" for i in range(len(losses))])
    named = list(zip((f"{name} loss" for name in names), losses, strict=True))
    return named if len(named) == 1 else [("train loss", sum(losses)), *named]


def parts_of_means(losses: Any, batch: Any, counted_by: Mapping[str, str]) -> Any:
    """Losses whose sum over all processes is their mean over the whole batch.

    Args:
        losses: means over this process's part of the batch: a tensor, a tuple or a NamedTuple.
        batch: with the ``shares`` of this process; a batch that has none is whole.
        counted_by: what the mean of a loss is taken over, by its name; the others: over samples.
    """
    shares = getattr(batch, "shares", None)
    if shares is None:
        return losses
    if not isinstance(losses, tuple):
        return losses * shares["samples"]
    of_all = {**getattr(plan_of(batch), "shares", {}), **shares}
    names = getattr(losses, "_fields", None) or [""] * len(losses)
    parts = [
        loss * of_all[counted_by.get(name, "samples")]
        for name, loss in zip(names, losses, strict=True)
    ]
    return type(losses)(*parts) if hasattr(losses, "_fields") else tuple(parts)


class PendingLosses:
    """Losses of batches that have not been read from the device yet.

    Reading them has the device finish all that it was given, so those of several are read at once.
    Where several processes train together, the parts of all are added up.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[int, Any, Tensor]] = []

    def add(self, step: int, losses: Tensor | tuple[Tensor, ...]) -> None:
        """Keep the losses of a batch that the optimizer step ``step`` is taken from."""
        parts = losses if isinstance(losses, tuple) else (losses,)
        self._batches.append((step, type(losses), torch.stack([each.detach() for each in parts])))

    def read(self) -> list[tuple[int, Losses]]:
        """Step and plain losses of each batch, in the type that it gave; none is left."""
        if not self._batches:
            return []
        batches, self._batches = self._batches, []
        every = torch.cat([losses for _, _, losses in batches])
        values = iter(all_reduce(every).tolist())
        return [
            (step, _as_given(kind, list(itertools.islice(values, len(losses)))))
            for step, kind, losses in batches
        ]


def _as_given(kind: Any, values: list[float]) -> Losses:
    if not issubclass(kind, tuple):
        return values[0]
    return kind(*values) if hasattr(kind, "_fields") else tuple(values)


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
