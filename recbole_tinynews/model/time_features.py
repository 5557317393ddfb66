"""Time features: age, exposures and click rates of candidates, and their term in a score."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

from recbole_tinynews.data.ragged import Ragged


def fit_conditional_logit(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    offsets: NDArray[np.int64],
    penalty: float = 1e-4,
) -> NDArray[np.float64]:
    """Weights that maximise the likelihood of the clicks, ``[features]``, by L-BFGS.

    The loss is the mean over impressions plus ``penalty`` times the squared norm of the weights.
    An impression's target is spread over its clicks; ``ValueError`` if none has clicks and others.
    ``features`` are ``[candidates, features]``, to be standardised; ``labels`` ``[candidates]``, 1
    where clicked; ``offsets`` ``[impressions + 1]``, bounds of the impressions.
    """
    clicked = (labels == 1).astype(np.float64)
    every = Ragged(clicked, offsets)
    clicks = np.add.reduceat(np.append(clicked, 0), offsets[:-1]) * (every.lengths > 0)
    mixed = np.flatnonzero((clicks > 0) & (clicks < every.lengths))
    if not len(mixed):
        raise ValueError(
            "A conditional logit expects impressions with clicked and unclicked candidates, got "
            "none. Check the labels of the training impressions."
        )
    places = every.positions(mixed)
    sizes = every.lengths_of(mixed)
    starts = np.cumsum(sizes) - sizes
    x = np.asarray(features, np.float64)[places]
    target = clicked[places] / np.repeat(clicks[mixed], sizes)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = x @ weights
        scores -= np.repeat(np.maximum.reduceat(scores, starts), sizes)
        exponentials = np.exp(scores)
        totals = np.add.reduceat(exponentials, starts)
        log_likelihood = target @ scores - np.log(totals).sum()
        residual = exponentials / np.repeat(totals, sizes) - target
        gradient = residual @ x / len(mixed) + 2 * penalty * weights
        return -log_likelihood / len(mixed) + penalty * float(weights @ weights), gradient

    options = {"maxiter": 500, "ftol": 1e-12, "gtol": 1e-8}
    return minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options=options).x


PRIOR_EXPOSURES = 20.0  # smooth click rates
# The start of the term's layers, chosen on validation impressions (docs/report/choices.md)
START_STEPS, START_BATCH, START_RATE = 800, 512, 2e-3
PASSES = 10  # at most, over the impressions of fit_again


class TimeFeatures(nn.Module):
    """Age, exposures and click rates of candidates, standardised on the training candidates.

    From the counters of ``data.popularity.Counting`` with W windows, 2 + W features: log(1 + hours
    of age), log(1 + exposures in the longest window), and for each window the log of the smoothed
    click rate over that of training, ``log((c + 20 r) / (s + 20) / r)``. ``extended`` ones, over L
    limited windows, are 1 + 3 W + 2 L: log(1 + clicks) and log(1 + exposures) of each window in
    place of the longest, then the log of the article's shares of the site's clicks,
    ``log((c + 0.1) / (C + 1))``, and of its exposures. They are kept within the range of the
    training candidates, since a hidden layer means nothing outside it. No feature depends on
    which other articles are ranked.
    """

    click_rate: Tensor
    mean: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, windows: int, limited: int, extended: bool = False) -> None:
        super().__init__()
        self.windows, self.limited, self.extended = windows, limited, extended
        self.size = 1 + 3 * windows + 2 * limited if extended else 2 + windows
        self.register_buffer("click_rate", torch.tensor(0.5))
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("scale", torch.ones(self.size))
        self.register_buffer("low", torch.full([self.size], -torch.inf))
        self.register_buffer("high", torch.full([self.size], torch.inf))

    @torch.no_grad()
    def fit(self, counters: Tensor, labels: Tensor) -> None:
        """Set click rate, scale and range from counters ``[candidates, features]`` and labels."""
        self.click_rate.fill_(float((labels == 1).double().mean().clamp(1e-6, 1 - 1e-6)))
        features = self.unscaled(counters)
        if self.extended:
            self.low.copy_(features.amin(0))
            self.high.copy_(features.amax(0))
        features = features.double()
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0, correction=0).clamp(min=1e-9))

    def unscaled(self, counters: Tensor) -> Tensor:
        """Features before standardising, ``[..., counters] -> [..., features]``.

        ``counters`` are 1 + 2 W, followed by the 2 L site totals where there are any.
        """
        windows, limited = self.windows, self.limited
        widths = [1, windows, windows, counters.shape[-1] - 1 - 2 * windows]
        age, clicks, exposures, site = counters.split(widths, dim=-1)
        rates = self.rate(clicks, exposures).log()
        if not self.extended:
            return torch.cat([age.log1p(), exposures.amax(-1, keepdim=True).log1p(), rates], dim=-1)
        own = torch.cat([clicks[..., :limited], exposures[..., :limited]], dim=-1)
        counts = torch.cat([age, clicks, exposures], dim=-1).log1p()
        return torch.cat([counts, rates, ((own + 0.1) / (site + 1)).log()], dim=-1)

    def rate(self, clicks: Tensor, exposures: Tensor) -> Tensor:
        """Smoothed click rate relative to that of training."""
        smoothed = (clicks + PRIOR_EXPOSURES * self.click_rate) / (exposures + PRIOR_EXPOSURES)
        return smoothed / self.click_rate

    def forward(self, counters: Tensor) -> Tensor:
        """Standardised features, ``[..., counters] -> [..., features]``."""
        features = torch.clamp(self.unscaled(counters), self.low, self.high)
        return (features - self.mean) / self.scale


class TimeScore(nn.Module):
    """A term of a score, ``text + time``: linear in ``TimeFeatures``, plus two hidden layers.

    Text scores get one common weight, so that ranking by text keeps its order. ``hidden=0`` leaves
    out the hidden layers.
    """

    def __init__(self, windows: int, limited: int, hidden: int) -> None:
        super().__init__()
        self.features = TimeFeatures(windows, limited, extended=True)
        self.text_weight = nn.Parameter(torch.ones(()))
        self.weights = nn.Parameter(torch.zeros(self.features.size))
        self.layers = _layers(self.features.size, hidden) if hidden else None

    def start(self, text: Tensor, counters: Tensor, labels: Tensor, offsets: Tensor) -> None:
        """Fit initial weights: the conditional logit, then the hidden layers on its likelihood.

        ``text`` and ``labels`` are ``[candidates]``, ``counters`` ``[candidates, counters]``,
        ``offsets`` ``[impressions + 1]``, bounds of the impressions among the candidates.
        """
        self.features.fit(counters, labels)
        features = self.features(counters)
        spread = text.double().std(correction=0).clamp(min=1e-9)
        both = torch.cat([(text / spread).unsqueeze(1), features], dim=1)
        weights = fit_conditional_logit(
            both.cpu().numpy(), labels.cpu().numpy(), offsets.cpu().numpy()
        )
        with torch.no_grad():
            self.text_weight.copy_(torch.tensor(weights[0]) / spread.cpu())
            self.weights.copy_(torch.from_numpy(weights[1:]))
        if self.layers is not None:
            self._train(text / spread, float(spread), features, labels == 1, offsets)

    def fit_again(self, text: Tensor, counters: Tensor, labels: Tensor, offsets: Tensor) -> None:
        """Train the weights further on these impressions; arguments as for ``start``."""
        spread, features = text.std(correction=0).clamp(min=1e-9), self.features(counters)
        self._train(text / spread, float(spread), features, labels == 1, offsets, PASSES)

    @torch.enable_grad()
    def _train(
        self,
        text: Tensor,
        spread: float,
        features: Tensor,
        clicked: Tensor,
        offsets: Tensor,
        passes: int = START_STEPS,
    ) -> None:
        rows = torch.arange(len(offsets) - 1).repeat_interleave(offsets.diff()).to(text.device)
        lengths = offsets.diff().to(text.device)
        clicks = torch.zeros_like(lengths).index_add(0, rows, clicked.to(lengths.dtype))
        mixed = ((clicks > 0) & (clicks < lengths)).nonzero().squeeze(1)
        if not len(mixed):
            return
        target = clicked / clicks.clamp(min=1)[rows]
        text_weight = (self.text_weight.detach() * spread).float().requires_grad_()
        layers = [] if self.layers is None else [*self.layers.parameters()]
        parameters = [text_weight, self.weights, *layers]
        frozen = [each for each in parameters if not each.requires_grad]  # of untrained models
        for parameter in frozen:
            parameter.requires_grad_()
        optimizer = torch.optim.AdamW(parameters, lr=START_RATE, weight_decay=1e-4)
        order = torch.Generator().manual_seed(0)
        size = min(START_BATCH, len(mixed))
        steps = min(START_STEPS, passes * len(mixed) // size)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = START_RATE * (1 - step / steps)
            some = mixed[torch.randperm(len(mixed), generator=order)[:size].to(mixed.device)]
            chosen = torch.isin(rows, some).nonzero().squeeze(1)
            scores = text_weight * text[chosen] + self.term(features[chosen])
            of, zeros = rows[chosen], torch.zeros(len(lengths), device=text.device)
            most = zeros.scatter_reduce(0, of, scores.detach(), "amax", include_self=False)
            total = zeros.index_add(0, of, (scores - most[of]).exp())
            loss = (total[some].log() + most[some]).sum() - target[chosen] @ scores
            optimizer.zero_grad()
            (loss / size).backward()
            optimizer.step()
        for parameter in parameters:
            parameter.grad = None
        for parameter in frozen:
            parameter.requires_grad_(False)
        with torch.no_grad():
            self.text_weight.copy_(text_weight / spread)

    def term(self, features: Tensor) -> Tensor:
        """The term itself, ``[..., features] -> [...]``."""
        linear = features @ self.weights
        return linear if self.layers is None else linear + self.layers(features).squeeze(-1)

    def forward(self, text: Tensor, counters: Tensor, user: Tensor, news: Tensor) -> Tensor:
        """Scores, of the shape of ``text``: ``[batch, candidates]`` or ``[candidates]``.

        ``counters`` is ``[*text.shape, counters]``; ``user`` and ``news`` are not read.
        """
        return self.text_weight * text + self.term(self.features(counters))

    def parts(self, text: Tensor, counters: Tensor) -> Tensor:
        """Parts of scores, ``[..., 3]``: text, popularity (at an average age) and freshness."""
        features = self.features(counters)
        at_mean_age = torch.cat([torch.zeros_like(features[..., :1]), features[..., 1:]], dim=-1)
        popularity = self.term(at_mean_age)
        parts = self.text_weight * text, popularity, self.term(features) - popularity
        return torch.stack(parts, dim=-1)


def _layers(size: int, hidden: int) -> nn.Sequential:
    """Two hidden layers whose output starts at 0."""
    out = nn.Linear(hidden, 1, bias=False)
    nn.init.zeros_(out.weight)
    first, second = nn.Linear(size, hidden), nn.Linear(hidden, hidden)
    return nn.Sequential(first, nn.GELU(), second, nn.GELU(), out)
