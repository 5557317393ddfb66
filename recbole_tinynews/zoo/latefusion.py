"""LateFusion (Iana, Glavaš, Paulheim, SIGIR 2023): a user is the mean of the clicked articles."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import mean_pooling
from recbole_tinynews.encoder.users import NoClicks
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.settings.protocol import Settings


class LateFusion(PLMNR):
    """``y = 1/n sum_i r_i . r_c``, news as in ``NRMS``; a learned vector without clicks (ours)."""

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """The mean of the clicks."""
        return self.started(config, MeanUser(self.news_dim(config)))


class MeanUser(nn.Module):
    """``u = 1/n sum_i r_i``: a score is the mean of the clicks' dot products with the candidate."""

    def __init__(self, news_dim: int) -> None:
        super().__init__()
        self.no_clicks = NoClicks(news_dim)

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        """User vectors ``[batch, dim]`` from clicks ``[batch, history, dim]``."""
        return self.no_clicks(mean_pooling(history, clicked), clicked)
