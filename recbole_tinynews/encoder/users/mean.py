"""Users as the mean of their clicks: LateFusion, and the starting point of other user encoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import mean_pooling
from recbole_tinynews.encoder.pretrained_heads import SCORE_SCALE
from recbole_tinynews.encoder.users.no_clicks import NoClicks


class MeanUser(nn.Module):
    """``u = 1/n sum_i r_i``: a score is the mean of the clicks' dot products with the candidate."""

    def __init__(self, news_dim: int) -> None:
        super().__init__()
        self.no_clicks = NoClicks(news_dim)

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        """User vectors ``[batch, dim]`` from clicks ``[batch, history, dim]``."""
        return self.no_clicks(mean_pooling(history, clicked), clicked)


class StartsAsMean(nn.Module):
    """``u = s (1/n sum_i r_i + w own(r_1..r_n))`` with trained ``s`` and ``w``, ``w`` from 0.

    A recommender starts by ranking with pretrained news vectors (docs/method.md, section 1) and
    mixes in its ``own`` user encoder as it learns.
    """

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.own: Any = own
        self.own_weight = nn.Parameter(torch.tensor(0.0))
        self.scale = nn.Parameter(torch.tensor(SCORE_SCALE))

    def forward(self, history: Tensor, clicked: Tensor, *users: Tensor) -> Tensor:
        """User vectors ``[batch, dim]``; arguments as for ``own``."""
        own = self.own(history, clicked, *users)
        return self.scale * (mean_pooling(history, clicked) + self.own_weight * own)
