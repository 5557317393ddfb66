"""PP-Rec's user encoder: attention over clicks by content and popularity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import AttentionPooling
from recbole_tinynews.encoder.self_attention import SelfAttention
from recbole_tinynews.encoder.users.no_clicks import NoClicks

BUCKETS = 200  # of a click rate, equally wide


class PopularityAwareUser(nn.Module):
    """Self-attention over the clicks, then content-popularity joint attention.

    Qi et al., "PP-Rec", ACL 2021, section 3.4, with ``m_i`` the clicks after self-attention and
    ``p_i`` the vectors of their quantised click rates::

        alpha_i = softmax_i(q . tanh(W [m_i; p_i] + b))     u = sum_i alpha_i m_i

    ``p_i`` is zero where the rate is unknown.
    """

    def __init__(self, news_dim: int, query_dim: int, popularity_dim: int) -> None:
        super().__init__()
        self.self_attention = SelfAttention(news_dim, news_dim)
        self.popularity = nn.Embedding(1 + BUCKETS, popularity_dim, padding_idx=0)
        self.pooling = AttentionPooling(news_dim + popularity_dim, query_dim)
        self.no_clicks = NoClicks(news_dim)

    def forward(self, history: Tensor, clicked: Tensor, rates: Tensor | None = None) -> Tensor:
        """User vectors ``[batch, dim]``; click rates ``[batch, history]``, negative if unknown."""
        if rates is None:
            rates = -torch.ones_like(clicked, dtype=torch.float32)
        attended = self.self_attention(history, clicked)
        popularity = self.popularity(buckets(rates)).to(attended.dtype)
        energy = self.pooling.energy(torch.cat([attended, popularity], dim=-1))
        return self.no_clicks(self.pooling(attended, clicked, energy), clicked)


def buckets(rates: Tensor) -> Tensor:
    """1 to ``BUCKETS`` for rates from 0 to 1; 0 for negative ones.

    >>> buckets(torch.tensor([-1.0, 0.0, 0.0051, 1.0])).tolist()
    [0, 1, 2, 200]
    """
    found = (rates * BUCKETS).long().clamp(max=BUCKETS - 1) + 1
    return found.masked_fill(rates < 0, 0)
