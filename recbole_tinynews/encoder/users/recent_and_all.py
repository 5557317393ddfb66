"""CenNewsRec's user encoder: attention over all clicks, a GRU over the newest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import AttentionPooling
from recbole_tinynews.encoder.self_attention import SelfAttention
from recbole_tinynews.encoder.users.long_short_term import last_state
from recbole_tinynews.encoder.users.no_clicks import NoClicks


class RecentAndAllUser(nn.Module):
    """Long-term interests of all clicks and short-term interests of the ``recent`` ones, pooled.

    Qi et al., "Privacy-Preserving News Recommendation Model Learning", Findings of EMNLP 2020,
    section 3.1, whose model without federated training is called CenNewsRec. The long-term vector
    is multi-head self-attention with attention pooling, the short-term one the GRU's last state;
    attention pooling over both gives ``u``.
    """

    def __init__(self, news_dim: int, query_dim: int, head_dim: int, recent: int) -> None:
        super().__init__()
        self.recent = recent
        self.self_attention = SelfAttention(news_dim, news_dim, head_dim)
        self.pooling = AttentionPooling(news_dim, query_dim)
        self.short_term = nn.GRU(news_dim, news_dim, batch_first=True)
        self.combination = AttentionPooling(news_dim, query_dim)
        self.no_clicks = NoClicks(news_dim)

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        """User vectors ``[batch, dim]`` from clicks ``[batch, history, dim]``."""
        long_term = self.pooling(self.self_attention(history, clicked), clicked)
        short_term = last_state(self.short_term, history, clicked, newest=self.recent)
        user = self.combination(torch.stack([long_term, short_term], dim=1))
        return self.no_clicks(user, clicked)
