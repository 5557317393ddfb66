"""Fastformer (Wu et al., 2021): attention among clicks in linear time."""

from __future__ import annotations

from torch import nn

from recbole_tinynews.encoder.self_attention import HEAD_DIM
from recbole_tinynews.encoder.users.fastformer import FastformerUser
from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.settings.protocol import Settings


class Fastformer(PLMNR):
    """NRMS with additive attention among the clicks (``FastformerUser``); titles as in NRMS."""

    user_head_dim = HEAD_DIM

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """Additive attention among the clicks, then attention pooling."""
        dim = self.news_dim(config)
        own = FastformerUser(dim, config["query_dim"], dim // HEAD_DIM, config["user_layers"])
        return self.started(config, own)
