"""LateFusion: a user is the mean of the clicked articles, without a user encoder.

Iana, Glavaš, Paulheim, "Simplifying Content-Based Neural News Recommendation: On User Modeling and
Training Objectives", SIGIR 2023.
"""

from __future__ import annotations

from torch import nn

from recbole_tinynews.encoder.users.mean import MeanUser
from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.settings.protocol import Settings


class LateFusion(PLMNR):
    """``y = 1/n sum_i r_i . r_c``: the mean of each click's score for the candidate.

    News are encoded as in ``NRMS``; a learned vector is a user without clicks (our definition).
    """

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """The mean of the clicks."""
        return self.started(config, MeanUser(self.news_dim(config)))
