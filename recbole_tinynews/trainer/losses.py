"""Losses by name, and their running means."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch

from recbole_tinynews.data.batch import plan_of
from recbole_tinynews.distillation.loss_terms import loss_terms
from recbole_tinynews.processes.gather import all_reduce

Losses = Any  # a NamedTuple of tensors, or of plain values


def as_terms(losses: Any) -> Losses:
    """Losses as a NamedTuple, whatever the model returns."""
    if not isinstance(losses, tuple):
        return loss_terms({"train": losses})
    if hasattr(losses, "_fields"):
        return losses
    return loss_terms({f"train_loss{number}": loss for number, loss in enumerate(losses, 1)})


def named_losses(losses: Losses) -> list[tuple[str, float]]:
    """``(name, value)`` of each loss, after the sum if there are several."""
    named = [(f"{name} loss", value) for name, value in losses._asdict().items()]
    return named if len(named) == 1 else [("train loss", sum(losses)), *named]


def parts_of_means(losses: Losses, batch: Any, counted_by: Mapping[str, str]) -> Losses:
    """Scale means over this process's shard so that their sum over processes is the batch mean."""
    shares = getattr(batch, "shares", None)
    if shares is None:
        return losses
    of_all = {**getattr(plan_of(batch), "shares", {}), **shares}
    return type(losses)(
        *(loss * of_all[counted_by.get(name, "samples")] for name, loss in losses._asdict().items())
    )


class PendingLosses:
    """Losses of several batches, read from the device together, and summed over processes."""

    def __init__(self) -> None:
        self._batches: list[tuple[int, Any, torch.Tensor]] = []

    def add(self, step: int, losses: Losses) -> None:
        """Keep a batch's losses."""
        values = torch.stack([each.detach() for each in losses])
        self._batches.append((step, type(losses), values))

    def read(self) -> list[tuple[int, Losses]]:
        """Step and plain losses of each batch kept; empties the list."""
        if not self._batches:
            return []
        batches, self._batches = self._batches, []
        values = iter(all_reduce(torch.cat([losses for _, _, losses in batches])).tolist())
        return [
            (step, kind(*itertools.islice(values, len(losses)))) for step, kind, losses in batches
        ]


class LossMeans:
    """Running means of losses, summed in float64 so that a resumed run logs the same values."""

    def __init__(self, sums: Mapping[str, float] | None = None, batches: int = 0) -> None:
        self.sums, self.batches = dict(sums or {}), batches

    def add(self, losses: Losses) -> None:
        """Add the losses of a batch."""
        for name, value in losses._asdict().items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.batches += 1

    def total(self) -> float:
        """Mean of the sum of all losses."""
        return sum(self.sums.values()) / max(self.batches, 1)

    def means(self) -> Losses:
        """The mean of each loss."""
        means: dict[str, Any] = {n: s / max(self.batches, 1) for n, s in self.sums.items()}
        return loss_terms(means)

    def as_dict(self) -> dict[str, Any]:
        """Plain values; ``LossMeans(**values)`` restores the means."""
        return {"sums": self.sums, "batches": self.batches}
