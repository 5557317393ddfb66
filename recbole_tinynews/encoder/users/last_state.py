"""The state of a recurrent network after the newest click."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def last_state(
    gru: nn.GRU,
    history: Tensor,
    clicked: Tensor,
    first: Tensor | None = None,
    newest: int | None = None,
) -> Tensor:
    """State after the last click, ``[batch, hidden]``: empty slots are skipped wherever they are.

    Without any click it means nothing, and is finite.

    Shapes:
        history: ``[batch, history, dim]``, oldest first.
        clicked: ``[batch, history]``, True where the slot holds a click.
        first: ``[batch, hidden]``, the state before the first click; ``None``: zeros.

    Args:
        newest: how many of the newest clicks are read; ``None``: all.
    """
    if newest is not None:
        age = clicked.flip(1).cumsum(1).flip(1)  # the newest click has 1
        clicked = clicked & (age <= newest)
    longest = history.shape[1] if newest is None else min(newest, history.shape[1])
    # clicks first: what is behind them changes no state before, so no length has to be known
    order = (~clicked).byte().argsort(dim=1, stable=True)[:, :longest]
    clicks = history.gather(1, order.unsqueeze(-1).expand(-1, -1, history.shape[-1]))
    states, _ = gru(clicks, None if first is None else first.unsqueeze(0).contiguous())
    last = (clicked.sum(1) - 1).clamp(min=0)
    return states[torch.arange(len(states), device=states.device), last]
