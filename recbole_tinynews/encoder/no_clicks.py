"""What stands for a user without any click."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NoClicks(nn.Module):
    """A learnt vector in the place of a user's, where there is nothing to make that of.

    With zeros all candidates would tie. It starts at random, as ``UserEncoder``'s does.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.empty(dim).uniform_(-1, 1) * dim**-0.5)

    def forward(self, user: Tensor, clicked: Tensor) -> Tensor:
        """``[batch, dim]`` -> ``[batch, dim]``.

        Shapes:
            clicked: ``[batch, history]``, True where the slot holds a click.
        """
        return torch.where(clicked.any(dim=-1, keepdim=True), user, self.vector.to(user.dtype))
