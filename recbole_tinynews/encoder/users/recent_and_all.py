"""CenNewsRec's user encoder: attention over all clicks, a GRU over the newest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import AttentionPooling
from recbole_tinynews.encoder.self_attention import SelfAttention
from recbole_tinynews.encoder.users.long_short_term import last_state
from recbole_tinynews.encoder.users.no_clicks import NoClicks


class RecentAndAllUser(nn.Module):
    """CenNewsRec's long-term interests of all clicks and short-term ones of ``recent``, pooled.

    Qi et al., Findings of EMNLP 2020, section 3.1: attention pooling over multi-head self-attention
    with attention pooling, and a GRU's last state.
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
