"""LateFusion's user: the mean of the clicked articles."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import mean_pooling
from recbole_tinynews.encoder.users.no_clicks import NoClicks


class MeanUser(nn.Module):
    """``u = 1/n sum_i r_i``; its score is the mean of the clicks' own with the candidate."""

    def __init__(self, news_dim: int) -> None:
        super().__init__()
        self.no_clicks = NoClicks(news_dim)

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        """User vectors ``[batch, dim]`` from those of clicks ``[batch, history, dim]``."""
        return self.no_clicks(mean_pooling(history, clicked), clicked)
