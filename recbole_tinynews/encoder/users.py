"""User encoders: one vector from the vectors of clicked articles.

``history`` is ``[batch, history, dim]``, oldest click first; ``clicked``, ``[batch, history]``, is
False for empty slots.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import HEAD_DIM, AttentionPooling, mean_pooling

SCORE_SCALE = 12.0  # initial scale of a cosine in a softmax over candidates


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
        if kind not in ("attention", "self_attention"):
            raise ValueError(
                f"UserEncoder expects user_encoder=attention or self_attention, got {kind!r}."
            )
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

    def of_rows(self, vectors: Tensor, histories: Tensor) -> Tensor:
        """User vectors of histories as rows of ``vectors [1 + articles, dim]``, 0 where empty.

        The empty slots are those in front, and are dropped as far as all users have them.
        """
        if self.ignores_empty_slots:
            longest = int((histories != 0).sum(dim=1).max()) if len(histories) else 0
            histories = histories[:, histories.shape[1] - max(longest, 1) :]
        # computed once per article, even if several users clicked it
        shared = self.weighs_clicks_alone and histories.numel() > len(vectors)
        energy = self.pooling.energy(vectors)[histories] if shared else None
        return self(vectors[histories], histories != 0, energy)

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


class NoClicks(nn.Module):
    """A learned vector for users without clicks; with zeros, all candidates would tie."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.empty(dim).uniform_(-1, 1) * dim**-0.5)

    def forward(self, user: Tensor, clicked: Tensor) -> Tensor:
        """User vectors ``[batch, dim]``, replaced where a user has no clicks."""
        return torch.where(clicked.any(dim=-1, keepdim=True), user, self.vector.to(user.dtype))

    def before(self, history: Tensor, clicked: Tensor) -> tuple[Tensor, Tensor]:
        """Clicks with an additional first slot, which holds the vector for users without clicks."""
        first = self(history.new_zeros(len(history), history.shape[-1]), clicked)
        without_clicks = ~clicked.any(dim=1, keepdim=True)
        together = torch.cat([first.unsqueeze(1), history], dim=1)
        return together, torch.cat([without_clicks, clicked], dim=1)


class StartsAsMean(nn.Module):
    """``u = s (1/n sum_i r_i + w own(r_1..r_n))`` with trained ``s`` and ``w``, ``w`` from 0.

    A recommender starts by ranking with pretrained news vectors (docs/method.md, section 1) and
    mixes in its ``own`` user encoder as it learns.
    """

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.own: Any = own
        self.own_weight = nn.Parameter(torch.tensor(0.0))
        self.scale = nn.Parameter(torch.tensor(SCORE_SCALE))

    def forward(self, history: Tensor, clicked: Tensor, *of_readers: Tensor) -> Tensor:
        """User vectors ``[batch, dim]``; arguments as for ``own``."""
        own = self.own(history, clicked, *of_readers)
        return self.scale * (mean_pooling(history, clicked) + self.own_weight * own)


def last_state(
    gru: nn.GRU,
    history: Tensor,
    clicked: Tensor,
    first: Tensor | None = None,
    newest: int | None = None,
) -> Tensor:
    """GRU state after the newest clicks, from ``first [batch, hidden]``; arbitrary if none."""
    if newest is not None:
        age = clicked.flip(1).cumsum(1).flip(1)  # the newest click has 1
        clicked = clicked & (age <= newest)
    # clicks first: later slots do not affect earlier states, so no lengths are needed
    order = (~clicked).byte().argsort(dim=1, stable=True)[:, :newest]
    clicks = history.gather(1, order.unsqueeze(-1).expand(-1, -1, history.shape[-1]))
    states, _ = gru(clicks, None if first is None else first.unsqueeze(0).contiguous())
    last = (clicked.sum(1) - 1).clamp(min=0)
    return states[torch.arange(len(states), device=states.device), last]
