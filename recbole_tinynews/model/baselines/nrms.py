"""NRMS (Wu et al., EMNLP 2019): self-attention among words, and among clicks."""

from __future__ import annotations

from torch import nn

from recbole_tinynews.encoder.self_attention import HEAD_DIM
from recbole_tinynews.encoder.users.attentive import SelfAttentiveUser
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.settings.protocol import Settings


class NRMS(PLMNR):
    """Multi-head self-attention and additive attention, over words and then over clicks.

    ``h_i = [h_i1; ...; h_iK]`` with ``h_ik = V_k sum_j softmax_j(e_i Q_k e_j) e_j``, and
    ``r = sum_i softmax_i(q . tanh(V h_i + v)) h_i``, for ``e`` of words, and then of titles.
    """

    user_head_dim = HEAD_DIM

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """Self-attention among the clicks, then additive attention."""
        own = SelfAttentiveUser(self.news_dim(config), config["query_dim"])
        return self.started(config, own)
