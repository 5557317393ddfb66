"""What is read now, as features of a candidate: age, exposures and click rates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PRIOR_EXPOSURES = 20.0  # of a click rate, before there are any


class TimeFeatures(nn.Module):
    """Age, exposures and click rates of candidates, on the scale of the training candidates.

    For counters of ``data.popularity.Counting`` with W windows these are 2 + W features: log(1 +
    hours of age), log(1 + exposures in the longest window), and for each window the log of the
    smoothed click rate over the click rate of training, ``log((c + 20 r) / (s + 20) / r)``.

    Args:
        windows: number of windows, W.
    """

    click_rate: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, windows: int) -> None:
        super().__init__()
        self.windows, self.size = windows, 2 + windows
        self.register_buffer("click_rate", torch.tensor(0.5))
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("scale", torch.ones(self.size))

    @torch.no_grad()
    def fit(self, counters: Tensor, labels: Tensor) -> None:
        """Take click rate, mean and standard deviation from training candidates.

        Shapes:
            counters: ``[candidates, 1 + 2 W]``.
            labels: ``[candidates]``, 1 where clicked.
        """
        self.click_rate.fill_(float((labels == 1).double().mean().clamp(1e-6, 1 - 1e-6)))
        features = self.unscaled(counters).double()
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0, correction=0).clamp(min=1e-9))

    def unscaled(self, counters: Tensor) -> Tensor:
        """The features as they are, ``[..., 1 + 2 W] -> [..., 2 + W]``."""
        age, clicks, exposures = counters.split([1, self.windows, self.windows], dim=-1)
        most = exposures.amax(-1, keepdim=True)
        rates = self.rate(clicks, exposures).log()
        return torch.cat([age.log1p(), most.log1p(), rates], dim=-1)

    def rate(self, clicks: Tensor, exposures: Tensor) -> Tensor:
        """Smoothed clicks per exposure, relative to the click rate of training."""
        smoothed = (clicks + PRIOR_EXPOSURES * self.click_rate) / (exposures + PRIOR_EXPOSURES)
        return smoothed / self.click_rate

    def forward(self, counters: Tensor) -> Tensor:
        """The features of candidates, ``[..., 1 + 2 W] -> [..., 2 + W]``, standardised."""
        return (self.unscaled(counters) - self.mean) / self.scale
