"""Heads that start at the zero-shot solution, so that a recommender ranks before it is trained.

Random heads discard the geometry of a pretrained language model (docs/method.md, section 1).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCORE_SCALE = 12.0  # of a cosine in a softmax over candidates; it trains


class UnitDense(nn.Linear):
    """A dense layer on centred vectors, whose output has unit length.

    It starts as the identity, padded with zeros if ``out_features`` is larger than ``in_features``,
    and as the principal axes of the texts' vectors if it is smaller: a dot product of two news
    vectors starts as their cosine.

    Attributes:
        centre: ``[in_features]``, subtracted first; NaN until ``start`` or loaded weights set it,
            so that a missing start is noticed.
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
        """Set mean and principal axes.

        Args:
            vectors: batches of the training texts' vectors, ``[texts, in_features]``.
            centred: whether their mean is subtracted.
        """
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
            self.weight.copy_(_principal_axes(covariance, self.out_features))

    def forward(self, inputs: Tensor) -> Tensor:
        """``[..., in_features]`` -> ``[..., out_features]``, each of unit length."""
        # before autocast rounds: vectors of many language models differ little from their mean
        return F.normalize(super().forward(inputs.to(self.centre.dtype) - self.centre), dim=-1)


def _principal_axes(covariance: Tensor, count: int) -> Tensor:
    """The first principal axes of a covariance ``[dim, dim]``, ``[count, dim]``.

    The largest component of each is positive, so the signs are deterministic.
    """
    _, axes = torch.linalg.eigh(covariance)  # ascending
    chosen = axes.T.flip(0)[:count]
    largest = chosen.gather(1, chosen.abs().argmax(dim=1, keepdim=True))
    return chosen * largest.sign()
