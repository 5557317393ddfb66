"""LSTUR's user encoder: a GRU over the clicks and a long-term vector of the user's own."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.users.no_clicks import NoClicks

Combination = Literal["ini", "con"]


class LongShortTermUser(nn.Module):
    """Long-term interests from the user's id, short-term interests from a GRU over the clicks.

    An et al., "Neural News Recommendation with Long- and Short-term User Representations", ACL
    2019, section 3.2. The short-term vector ``u_s`` is the GRU's last state. In training, the
    long-term vector ``u_l = M W_u[u]`` is masked as a whole, ``M ~ B(1, 1 - p)``, for each user of
    a batch; p is ``mask_probability``. ``ini`` initialises the GRU with ``u_l``; ``con``
    concatenates, ``u = [u_s; u_l]``, each half as wide as a news vector. User vectors start as
    zeros and stay so for unseen users. ``users`` is the number of ids, including padding.
    """

    def __init__(
        self,
        news_dim: int,
        users: int,
        combination: Combination = "ini",
        mask_probability: float = 0.5,
    ) -> None:
        super().__init__()
        if combination == "con" and news_dim % 2:
            raise ValueError(
                "LongShortTermUser expects an even size of news vectors for combination 'con', "
                f"got {news_dim}. Change news_dim or category_dim, or choose 'ini'."
            )
        self.combination, self.mask_probability = combination, mask_probability
        size = news_dim if combination == "ini" else news_dim // 2
        self.long_term = nn.Embedding(users, size, padding_idx=0)
        nn.init.zeros_(self.long_term.weight)
        self.short_term = nn.GRU(news_dim, size, batch_first=True)
        self.no_clicks = NoClicks(news_dim)

    def forward(self, history: Tensor, clicked: Tensor, users: Tensor) -> Tensor:
        """User vectors ``[batch, dim]``; ``users`` are ids ``[batch]``, 0 if unknown."""
        history, clicked = self.no_clicks.before(history, clicked)
        long_term = self._masked(self.long_term(users)).to(history.dtype)
        if self.combination == "ini":
            return last_state(self.short_term, history, clicked, first=long_term)
        return torch.cat([last_state(self.short_term, history, clicked), long_term], dim=-1)

    def _masked(self, long_term: Tensor) -> Tensor:
        if not self.training:
            return long_term
        kept = torch.rand(len(long_term), 1, device=long_term.device) >= self.mask_probability
        return long_term * kept


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
