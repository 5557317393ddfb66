"""Time features: age, exposures and click rates of candidates, and their term in a score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_tinynews.model.conditional_logit import fit_conditional_logit

PRIOR_EXPOSURES = 20.0  # smooth click rates


class TimeFeatures(nn.Module):
    """Age, exposures and click rates of candidates, standardised on the training candidates.

    From the counters of ``data.popularity.Counting`` with W windows, 2 + W features: log(1 + hours
    of age), log(1 + exposures in the longest window), and for each window the log of the smoothed
    click rate over that of training, ``log((c + 20 r) / (s + 20) / r)``.
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
        """Set click rate and scale from counters ``[candidates, 1 + 2 W]`` and labels."""
        self.click_rate.fill_(float((labels == 1).double().mean().clamp(1e-6, 1 - 1e-6)))
        features = self.unscaled(counters).double()
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0, correction=0).clamp(min=1e-9))

    def unscaled(self, counters: Tensor) -> Tensor:
        """Features before standardising, ``[..., 1 + 2 W] -> [..., 2 + W]``."""
        age, clicks, exposures = counters.split([1, self.windows, self.windows], dim=-1)
        most = exposures.amax(-1, keepdim=True)
        rates = self.rate(clicks, exposures).log()
        return torch.cat([age.log1p(), most.log1p(), rates], dim=-1)

    def rate(self, clicks: Tensor, exposures: Tensor) -> Tensor:
        """Smoothed click rate relative to that of training."""
        smoothed = (clicks + PRIOR_EXPOSURES * self.click_rate) / (exposures + PRIOR_EXPOSURES)
        return smoothed / self.click_rate

    def forward(self, counters: Tensor) -> Tensor:
        """Standardised features, ``[..., 1 + 2 W] -> [..., 2 + W]``."""
        return (self.unscaled(counters) - self.mean) / self.scale


class TimeScore(nn.Module):
    """A term of a score, ``text + time``, linear in ``TimeFeatures``.

    Text scores get one common weight, so that an index, or ranking without counters, keeps its
    order. With a gate on the user vector u (if ``user_dim``) it is ``2 g text + 2 (1 - g) time``, g
    = sigmoid(w u + b), which starts at 1/2.
    """

    def __init__(self, windows: int, user_dim: int | None = None) -> None:
        super().__init__()
        self.features = TimeFeatures(windows)
        self.text_weight = nn.Parameter(torch.ones(()))
        self.weights = nn.Parameter(torch.zeros(self.features.size))
        self.gate = None if user_dim is None else nn.Linear(user_dim, 1)
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)

    @torch.no_grad()
    def start(self, text: Tensor, counters: Tensor, labels: Tensor, offsets: Tensor) -> None:
        """Fit initial weights: the conditional logit of text scores and time features.

        Shapes:
            text, labels: ``[candidates]``.
            counters: ``[candidates, 1 + 2 windows]``.
            offsets: ``[impressions + 1]``, bounds of the impressions among the candidates.
        """
        self.features.fit(counters, labels)
        spread = text.double().std(correction=0).clamp(min=1e-9)
        both = torch.cat([(text / spread).unsqueeze(1), self.features(counters)], dim=1)
        weights = fit_conditional_logit(
            both.cpu().numpy(), labels.cpu().numpy(), offsets.cpu().numpy()
        )
        self.text_weight.copy_(torch.tensor(weights[0]) / spread.cpu())
        self.weights.copy_(torch.from_numpy(weights[1:]))

    def forward(self, text: Tensor, counters: Tensor, user: Tensor, news: Tensor) -> Tensor:
        """Scores, of the shape of ``text``; ``news`` as in ``total_scores``, not read here.

        Shapes:
            text: ``[batch, candidates]`` or ``[candidates]``.
            counters: the same with a last dimension ``1 + 2 windows``.
            user: ``[batch, dim]``, or ``[candidates, dim]`` beside ``[candidates]``.
        """
        text, time = self.text_weight * text, self.features(counters) @ self.weights
        if self.gate is None:
            return text + time
        share = self._text_share(text, user)
        return 2 * share * text + 2 * (1 - share) * time

    def parts(self, text: Tensor, counters: Tensor, user: Tensor) -> Tensor:
        """Parts of a score: text, popularity and freshness (age), ``[..., 3]``; as ``forward``."""
        time = self.features(counters) * self.weights
        parts = [self.text_weight * text, time[..., 1:].sum(-1), time[..., 0]]
        if self.gate is not None:
            share = self._text_share(text, user)
            of_each = 2 * share, 2 * (1 - share), 2 * (1 - share)
            parts = [factor * part for factor, part in zip(of_each, parts, strict=True)]
        return torch.stack(parts, dim=-1)

    def _text_share(self, text: Tensor, user: Tensor) -> Tensor:
        assert self.gate is not None
        share = torch.sigmoid(self.gate(user))  # [..., 1]
        return share if text.dim() == 2 else share.squeeze(-1)
