"""NRMS's user encoder: self-attention among the clicked articles, then attention pooling."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import AttentionPooling
from recbole_tinynews.encoder.self_attention import SelfAttention
from recbole_tinynews.encoder.users.no_clicks import NoClicks


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
