"""Users as the mean of their clicks: the start of user encoders with pretrained heads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_tinynews.encoder.pooling import mean_pooling
from recbole_tinynews.encoder.pretrained_heads import SCORE_SCALE


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
