"""Identity-initialised heads, with which an untrained recommender already ranks."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UnitDense(nn.Linear):
    """A dense layer on centred vectors, with output of unit length.

    It starts as the identity, padded with zeros, or as the principal axes of the texts' vectors if
    its output is smaller: dot products start as cosines. ``centre`` is subtracted first, and NaN
    until ``start`` or loaded weights set it, so that a missing start is noticed.
    """

    centre: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("centre", torch.full((in_features,), float("nan")))
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)

    @property
    def has_started(self) -> bool:
        """Whether ``centre`` is set."""
        return not bool(self.centre.isnan().any())

    @torch.no_grad()
    def start(self, vectors: Iterable[Tensor], centred: bool) -> None:
        """Set principal axes (and ``centred``: the mean) from batches ``[texts, in_features]``."""
        smaller = self.out_features < self.in_features
        texts, total = 0, self.centre.new_zeros(self.in_features, dtype=torch.double)
        products = torch.zeros_like(total.outer(total))
        for some in vectors:
            exact = some.double()
            texts += len(exact)
            total += exact.sum(dim=0)
            if smaller:
                products += exact.T @ exact
        centre = total / texts if centred else torch.zeros_like(total)
        self.centre.copy_(centre)
        if smaller:
            covariance = products - texts * centre.outer(centre)
            self.weight.copy_(principal_axes(covariance, self.out_features))

    def forward(self, inputs: Tensor) -> Tensor:
        """``[..., in_features]`` -> ``[..., out_features]``, of unit length."""
        # before autocast rounds: in many language models, vectors differ little from their mean
        return F.normalize(super().forward(inputs.to(self.centre.dtype) - self.centre), dim=-1)


def principal_axes(covariance: Tensor, count: int) -> Tensor:
    """First principal axes, ``[count, dim]``; the entry of largest magnitude is positive."""
    _, axes = torch.linalg.eigh(covariance)  # ascending
    chosen = axes.T.flip(0)[:count]
    largest = chosen.gather(1, chosen.abs().argmax(dim=1, keepdim=True))
    return chosen * largest.sign()
