"""LateFusion (Iana, Glavaš, Paulheim, SIGIR 2023): a user is the mean of the clicked articles."""

from __future__ import annotations

from torch import nn

from recbole_tinynews.encoder.users.mean import MeanUser
from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.settings.protocol import Settings


class LateFusion(PLMNR):
    """``y = 1/n sum_i r_i . r_c``, news as in ``NRMS``; a learned vector without clicks (ours)."""

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """The mean of the clicks."""
        return self.started(config, MeanUser(self.news_dim(config)))
