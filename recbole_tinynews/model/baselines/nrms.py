"""NRMS (Wu et al., EMNLP 2019): self-attention among words, and among clicks."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import AttentionPooling, SelfAttention
from recbole_tinynews.encoder.users import NoClicks
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.settings.protocol import Settings


class NRMS(PLMNR):
    """Multi-head self-attention and additive attention, over words and then over clicks.

    ``h_i = [h_i1; ...; h_iK]`` with ``h_ik = V_k sum_j softmax_j(e_i Q_k e_j) e_j``, and
    ``r = sum_i softmax_i(q . tanh(V h_i + v)) h_i``, for ``e`` of words, and then of titles.
    """

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """Self-attention among the clicks, then additive attention."""
        own = SelfAttentiveUser(self.news_dim(config), config["query_dim"])
        return self.started(config, own)


class SelfAttentiveUser(nn.Module):
    """Self-attention over the clicks, then attention pooling."""

    def __init__(self, news_dim: int, query_dim: int) -> None:
        super().__init__()
        self.self_attention = SelfAttention(news_dim, news_dim)
        self.pooling = AttentionPooling(news_dim, query_dim)
        self.no_clicks = NoClicks(news_dim)

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        """User vectors ``[batch, dim]`` from clicks ``[batch, history, dim]``."""
        attended = self.self_attention(history, clicked)
        return self.no_clicks(self.pooling(attended, clicked), clicked)
