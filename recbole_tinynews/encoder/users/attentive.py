"""PLM-NR's and NRMS's user encoders: attention over the clicks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import AttentionPooling
from recbole_tinynews.encoder.pretrained_heads import SCORE_SCALE
from recbole_tinynews.encoder.self_attention import HEAD_DIM, SelfAttention
from recbole_tinynews.encoder.users.no_clicks import NoClicks


class UserEncoder(nn.Module):
    """Attention pooling over the history (PLM-NR), optionally after self-attention (NRMS).

    ``pad_doc`` is a learned news vector. With ``history_padding="learned"`` it fills empty slots;
    with ``"masked"`` these are masked, and it represents a user without history, whose scores would
    otherwise all tie.

    With ``starts_as_mean``, a user starts as the mean of the clicked vectors times a trained scale:
    the query, ``pad_doc`` and self-attention, which is then residual, start as zeros.
    """

    def __init__(
        self,
        news_dim: int,
        query_dim: int,
        kind: str = "attention",
        history_padding: str = "masked",
        starts_as_mean: bool = False,
    ) -> None:
        super().__init__()
        if kind == "self_attention" and news_dim % HEAD_DIM:
            raise ValueError(
                f"UserEncoder expects a news_dim divisible by {HEAD_DIM} for self_attention, got "
                f"{news_dim}. Set news_dim to a multiple of {HEAD_DIM} or user_encoder=attention."
            )
        self.history_padding = history_padding
        self.self_attention = (
            nn.MultiheadAttention(news_dim, news_dim // HEAD_DIM, batch_first=True)
            if kind == "self_attention"
            else None
        )
        self.pooling = AttentionPooling(news_dim, query_dim, starts_as_mean)
        self.pad_doc = nn.Parameter(torch.empty(news_dim).uniform_(-1, 1) * news_dim**-0.5)
        self.scale = nn.Parameter(torch.tensor(SCORE_SCALE)) if starts_as_mean else None
        if starts_as_mean:
            nn.init.zeros_(self.pad_doc)
            if self.self_attention is not None:
                nn.init.zeros_(self.self_attention.out_proj.weight)
                nn.init.zeros_(self.self_attention.out_proj.bias)

    @property
    def ignores_empty_slots(self) -> bool:
        """Whether empty slots have no effect, wherever they are."""
        return self.history_padding == "masked"

    @property
    def weighs_clicks_alone(self) -> bool:
        """Whether the attention score of a click depends only on its own vector."""
        return self.self_attention is None and self.ignores_empty_slots

    def forward(self, history: Tensor, clicked: Tensor, energy: Tensor | None = None) -> Tensor:
        """User vectors ``[batch, dim]``; ``energy`` only if ``weighs_clicks_alone``."""
        history, mask = self._slots(history, clicked)
        user = self.pooling(history, mask, energy)
        if mask is not None:
            user = torch.where(mask.any(dim=-1, keepdim=True), user, self.pad_doc.to(user.dtype))
        return user if self.scale is None else user * self.scale

    def click_weights(self, history: Tensor, clicked: Tensor) -> Tensor:
        """Pooling weights, ``[batch, history]``, which sum to 1 over a user's clicks."""
        weights = self.pooling.weights(*self._slots(history, clicked)) * clicked
        return weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-30)

    def _slots(self, history: Tensor, clicked: Tensor) -> tuple[Tensor, Tensor | None]:
        mask: Tensor | None = clicked
        if self.history_padding == "learned":
            empty_slot = ~clicked.unsqueeze(-1)
            history, mask = torch.where(empty_slot, self.pad_doc.to(history.dtype), history), None
        if self.self_attention is not None:
            history = self._attend(history, mask)
        return history, mask

    def _attend(self, history: Tensor, mask: Tensor | None) -> Tensor:
        assert self.self_attention is not None
        ignored = None
        if mask is not None:  # the softmax of a row without clicks would be NaN
            ignored = ~mask & mask.any(dim=-1, keepdim=True)
        attended = self.self_attention(
            history, history, history, key_padding_mask=ignored, need_weights=False
        )[0]
        return attended if self.scale is None else history + attended


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
