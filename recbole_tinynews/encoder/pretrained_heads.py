"""Heads that start at the zero-shot solution: a recommender ranks before it has learnt anything.

Random heads throw the geometry of a pretrained language model away, and a small data set hardly
repairs them. These start as functions that keep it (docs/method.md, section 1).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCORE_SCALE = 12.0  # of a cosine in a softmax over candidates; it trains


class UnitDense(nn.Linear):
    """A dense layer on centred vectors, whose output has unit length.

    It starts as the identity, with zeros where ``out_features`` is larger than ``in_features``, and
    as the principal axes of the texts' vectors where it is smaller. So a dot product of two news
    vectors starts as their cosine.

    Attributes:
        centre: ``[in_features]``, subtracted first; NaN until ``start`` or loaded weights set it,
            so that a start that was forgotten cannot pass unnoticed.
    """

    centre: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("centre", torch.full((in_features,), float("nan")))
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)

    @property
    def has_started(self) -> bool:
        """Whether it knows what to subtract."""
        return not bool(self.centre.isnan().any())

    @torch.no_grad()
    def start(self, vectors: Iterable[Tensor], centred: bool) -> None:
        """Take mean and principal axes from the vectors of texts, some of which lie in memory.

        Args:
            vectors: those of the texts of training, ``[texts, in_features]``, some at a time.
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
        # before autocast rounds: the vectors of many language models differ little from their mean
        return F.normalize(super().forward(inputs.to(self.centre.dtype) - self.centre), dim=-1)


def _principal_axes(covariance: Tensor, count: int) -> Tensor:
    """The axes along which vectors of a covariance ``[dim, dim]`` extend most, ``[count, dim]``.

    Each points to where its largest component is positive, so that they are the same anywhere.
    """
    _, axes = torch.linalg.eigh(covariance)  # ascending
    chosen = axes.T.flip(0)[:count]
    largest = chosen.gather(1, chosen.abs().argmax(dim=1, keepdim=True))
    return chosen * largest.sign()
