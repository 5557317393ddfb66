"""Fastformer (Wu et al., 2021): attention among clicks in linear time."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from recbole_tinynews.encoder.self_attention import HEAD_DIM
from recbole_tinynews.encoder.users.fastformer import FastformerUser
from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.model.text_encoders import unfit_heads
from recbole_tinynews.settings.protocol import Settings


class Fastformer(PLMNR):
    """NRMS with additive attention among the clicks (``FastformerUser``); titles as in NRMS."""

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require heads that divide a vector."""
        yield from super().conflicting_settings(config, prefix)
        of = f"{HEAD_DIM}, the size of a head of {cls.__name__}"
        yield from unfit_heads(cls.news_dim(config), HEAD_DIM, of, prefix)

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """Additive attention among the clicks, then attention pooling."""
        dim = self.news_dim(config)
        own = FastformerUser(dim, config["query_dim"], dim // HEAD_DIM, config["user_layers"])
        return self.started(config, own)
