"""CenNewsRec's user encoder: attention over all clicks, a GRU over the newest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import AttentionPooling
from recbole_tinynews.encoder.self_attention import SelfAttention
from recbole_tinynews.encoder.users.long_short_term import last_state
from recbole_tinynews.encoder.users.no_clicks import NoClicks


class RecentAndAllUser(nn.Module):
    """Long-term interests of all clicks, short-term interests of the newest, pooled into one.

    Qi et al., "Privacy-Preserving News Recommendation Model Learning", Findings of EMNLP 2020,
    section 3.1, whose model without federated training is called CenNewsRec. The long-term vector
    is multi-head self-attention over the clicks, then attention pooling; the short-term vector is
    the last state of a GRU over the newest clicks; attention pooling over these two gives ``u``.

    Args:
        news_dim: size of a news vector, a multiple of ``head_dim``.
        query_dim: size of the queries of attention pooling.
        head_dim: size of a head of the self-attention.
        recent: how many of the newest clicks the GRU reads.
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
        """User vectors, ``[batch, dim]``.

        Shapes:
            history: ``[batch, history, dim]``, vectors of the clicked news, oldest first.
            clicked: ``[batch, history]``, True where the slot holds a click.
        """
        long_term = self.pooling(self.self_attention(history, clicked), clicked)
        short_term = last_state(self.short_term, history, clicked, newest=self.recent)
        user = self.combination(torch.stack([long_term, short_term], dim=1))
        return self.no_clicks(user, clicked)
