"""The vector of users without clicks."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NoClicks(nn.Module):
    """A learned vector for users without clicks; with zeros all candidates would tie."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.empty(dim).uniform_(-1, 1) * dim**-0.5)

    def forward(self, user: Tensor, clicked: Tensor) -> Tensor:
        """``[batch, dim]`` -> ``[batch, dim]``.

        Shapes:
            clicked: ``[batch, history]``, True where the slot holds a click.
        """
        return torch.where(clicked.any(dim=-1, keepdim=True), user, self.vector.to(user.dtype))

    def before(self, history: Tensor, clicked: Tensor) -> tuple[Tensor, Tensor]:
        """The vector as a click, in an additional first slot; it is empty for users with clicks.

        Shapes:
            history: ``[batch, history, dim]``; returned with one slot more.
            clicked: ``[batch, history]``, True where the slot holds a click; likewise.
        """
        first = self(history.new_zeros(len(history), history.shape[-1]), clicked)
        without_clicks = ~clicked.any(dim=1, keepdim=True)
        together = torch.cat([first.unsqueeze(1), history], dim=1)
        return together, torch.cat([without_clicks, clicked], dim=1)
