"""The user encoder: one vector from the vectors of the clicked articles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import AttentionPooling
from recbole_tinynews.encoder.pretrained_heads import SCORE_SCALE
from recbole_tinynews.encoder.self_attention import HEAD_DIM


class UserEncoder(nn.Module):
    """Attention pooling over the history, as in PLM-NR; optionally after self-attention (NRMS).

    ``pad_doc`` is a learned news vector. Under ``history_padding="learned"`` it fills empty slots;
    under ``"masked"`` these are masked, and it is the vector of a user without history, whose
    scores would all tie otherwise.

    With ``starts_as_mean`` it starts as the mean of the clicked vectors times a trained scale: the
    query and ``pad_doc`` start as zeros, and so does self-attention, which is then residual.
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
        """Whether empty slots change nothing, wherever they are."""
        return self.history_padding == "masked"

    @property
    def weighs_clicks_alone(self) -> bool:
        """Whether the attention score of a click depends on its own vector only."""
        return self.self_attention is None and self.ignores_empty_slots

    def forward(self, history: Tensor, clicked: Tensor, energy: Tensor | None = None) -> Tensor:
        """User vectors, ``[batch, dim]``.

        Shapes:
            history: ``[batch, history, dim]``, vectors of the clicked news.
            clicked: ``[batch, history]``, True where the slot holds a click.
            energy: ``[batch, history]``, ``pooling.energy`` of the clicks; only if
                ``weighs_clicks_alone``. ``None``: it is computed.
        """
        history, mask = self._slots(history, clicked)
        user = self.pooling(history, mask, energy)
        if mask is not None:
            user = torch.where(mask.any(dim=-1, keepdim=True), user, self.pad_doc.to(user.dtype))
        return user if self.scale is None else user * self.scale

    def click_weights(self, history: Tensor, clicked: Tensor) -> Tensor:
        """Weights of the clicks in the pooling, ``[batch, history]``; shapes as in ``forward``.

        They sum to 1 over the clicks of a user with any.
        """
        weights = self.pooling.weights(*self._slots(history, clicked)) * clicked
        return weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-30)

    def _slots(self, history: Tensor, clicked: Tensor) -> tuple[Tensor, Tensor | None]:
        """The inputs of the pooling, and their mask."""
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
