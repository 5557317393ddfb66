"""A training batch with the plan for encoding its articles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATES, HISTORY


class Plan(Protocol):
    """The part of an encoding plan that a batch uses."""

    def to(self, device: torch.device) -> Any:
        """The plan on a device."""

    def apply(self, function: Any) -> Any:
        """The plan with ``function`` applied to each tensor."""


class NewsBatch(Interaction):
    """RecBole's batch, moved asynchronously, with a ``plan`` and a process's ``shares``."""

    def __init__(
        self,
        fields: dict[str, Tensor],
        plan: Plan | None = None,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(fields)
        self.plan, self.shares = plan, shares

    def __setitem__(self, name: str, values: Any) -> None:
        """Set a field; other articles invalidate the plan."""
        super().__setitem__(name, values)
        if name in (HISTORY, CANDIDATES):
            self.plan = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Send a worker's plan as arrays, since each tensor takes a file handle."""
        plan = self.plan and self.plan.apply(Tensor.numpy)
        return _received, (self.interaction, plan, self.shares)

    def pin_memory(self) -> NewsBatch:
        """The batch in pinned memory, for torch's loader."""
        fields = {name: values.pin_memory() for name, values in self.interaction.items()}
        return NewsBatch(fields, self.plan and self.plan.apply(Tensor.pin_memory), self.shares)

    def to(self, device: torch.device, selected_field: Any = None) -> NewsBatch:
        """The batch on a device."""
        fields = {
            name: values.to(device, non_blocking=True) for name, values in self.interaction.items()
        }
        return NewsBatch(fields, self.plan and self.plan.to(device), self.shares)


def _received(
    fields: dict[str, Tensor], plan: Plan | None, shares: Mapping[str, float] | None
) -> NewsBatch:
    return NewsBatch(fields, plan and plan.apply(torch.from_numpy), shares)


def plan_of(batch: Any) -> Any:
    """The batch's plan, if any."""
    return getattr(batch, "plan", None)
