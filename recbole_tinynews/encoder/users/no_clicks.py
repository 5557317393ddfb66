"""The vector of users without clicks."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NoClicks(nn.Module):
    """A learned vector for users without clicks; with zeros, all candidates would tie."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.empty(dim).uniform_(-1, 1) * dim**-0.5)

    def forward(self, user: Tensor, clicked: Tensor) -> Tensor:
        """User vectors ``[batch, dim]``, replaced where a user has no clicks."""
        return torch.where(clicked.any(dim=-1, keepdim=True), user, self.vector.to(user.dtype))

    def before(self, history: Tensor, clicked: Tensor) -> tuple[Tensor, Tensor]:
        """Clicks with an additional first slot, which holds the vector for users without clicks."""
        first = self(history.new_zeros(len(history), history.shape[-1]), clicked)
        without_clicks = ~clicked.any(dim=1, keepdim=True)
        together = torch.cat([first.unsqueeze(1), history], dim=1)
        return together, torch.cat([without_clicks, clicked], dim=1)
