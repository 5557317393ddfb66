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
# The start of the term's layer, chosen on validation impressions (docs/report/choices.md)
START_STEPS, START_BATCH, START_RATE = 400, 512, 3e-3
PASSES = 10  # at most, over the impressions of fit_again


class TimeFeatures(nn.Module):
    """Age, exposures and click rates of candidates, standardised on the training candidates.

    From the counters of ``data.popularity.Counting`` with W windows, 2 + W features: log(1 + hours
    of age), log(1 + exposures in the longest window), and for each window the log of the smoothed
    click rate over that of training, ``log((c + 20 r) / (s + 20) / r)``. ``extended`` ones are 3 +
    5 W: log(1 + clicks) and log(1 + exposures) of each window in place of the longest, and the
    context of the impression (2 + 2 W, ``data.popularity.context_of``).
    """

    click_rate: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, windows: int, extended: bool = False) -> None:
        super().__init__()
        self.windows, self.extended = windows, extended
        self.size = 3 + 5 * windows if extended else 2 + windows
        self.register_buffer("click_rate", torch.tensor(0.5))
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("scale", torch.ones(self.size))

    @torch.no_grad()
    def fit(self, counters: Tensor, labels: Tensor) -> None:
        """Set click rate and scale from counters ``[candidates, 3 + 4 W]`` and labels."""
        self.click_rate.fill_(float((labels == 1).double().mean().clamp(1e-6, 1 - 1e-6)))
        features = self.unscaled(counters).double()
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0, correction=0).clamp(min=1e-9))

    def unscaled(self, counters: Tensor) -> Tensor:
        """Features before standardising, ``[..., 3 + 4 W] -> [..., features]``."""
        width = 1 + 2 * self.windows
        own, context = counters[..., :width], counters[..., width:]
        age, clicks, exposures = own.split([1, self.windows, self.windows], dim=-1)
        rates = self.rate(clicks, exposures).log()
        if self.extended:
            return torch.cat([own.log1p(), rates, context], dim=-1)
        return torch.cat([age.log1p(), exposures.amax(-1, keepdim=True).log1p(), rates], dim=-1)

    def rate(self, clicks: Tensor, exposures: Tensor) -> Tensor:
        """Smoothed click rate relative to that of training."""
        smoothed = (clicks + PRIOR_EXPOSURES * self.click_rate) / (exposures + PRIOR_EXPOSURES)
        return smoothed / self.click_rate

    def forward(self, counters: Tensor) -> Tensor:
        """Standardised features, ``[..., 3 + 4 W] -> [..., features]``."""
        return (self.unscaled(counters) - self.mean) / self.scale


class TimeScore(nn.Module):
    """A term of a score, ``text + time``: linear in ``TimeFeatures``, plus one hidden layer.

    Text scores get one common weight, so that ranking by text keeps its order. With a gate on the
    user vector u (if ``user_dim``) it is ``2 g text + 2 (1 - g) time``, g = sigmoid(w u + b), which
    starts at 1/2. ``hidden=0`` leaves out the hidden layer.
    """

    def __init__(self, windows: int, hidden: int, user_dim: int | None = None) -> None:
        super().__init__()
        self.features = TimeFeatures(windows, extended=True)
        self.text_weight = nn.Parameter(torch.ones(()))
        self.weights = nn.Parameter(torch.zeros(self.features.size))
        self.layer = _layer(self.features.size, hidden) if hidden else None
        self.gate = None if user_dim is None else nn.Linear(user_dim, 1)
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)

    def start(self, text: Tensor, counters: Tensor, labels: Tensor, offsets: Tensor) -> None:
        """Fit initial weights: the conditional logit, then the hidden layer on the same likelihood.

        ``text`` and ``labels`` are ``[candidates]``, ``counters`` ``[candidates, 3 + 4 windows]``,
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
        if self.layer is not None:
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
        layer = [] if self.layer is None else [*self.layer.parameters()]
        parameters = [text_weight, self.weights, *layer]
        frozen = [each for each in parameters if not each.requires_grad]  # of untrained models
        for parameter in frozen:
            parameter.requires_grad_()
        optimizer = torch.optim.AdamW(parameters, lr=START_RATE, weight_decay=1e-4)
        order = torch.Generator().manual_seed(0)
        size = min(START_BATCH, len(mixed))
        steps = min(START_STEPS, passes * len(mixed) // size)
        for _ in range(steps):
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
        return linear if self.layer is None else linear + self.layer(features).squeeze(-1)

    def forward(self, text: Tensor, counters: Tensor, user: Tensor, news: Tensor) -> Tensor:
        """Scores, of the shape of ``text``: ``[batch, candidates]`` or ``[candidates]``.

        ``counters`` is ``[*text.shape, 3 + 4 windows]``; ``user`` is ``[batch, dim]``, or
        ``[candidates, dim]``; ``news`` is not read.
        """
        text, time = self.text_weight * text, self.term(self.features(counters))
        if self.gate is None:
            return text + time
        share = self._text_share(text, user)
        return 2 * share * text + 2 * (1 - share) * time

    def parts(self, text: Tensor, counters: Tensor, user: Tensor) -> Tensor:
        """Parts of scores, ``[..., 3]``: text, popularity (at an average age) and freshness."""
        features = self.features(counters)
        at_mean_age = torch.cat([torch.zeros_like(features[..., :1]), features[..., 1:]], dim=-1)
        popularity = self.term(at_mean_age)
        parts = [self.text_weight * text, popularity, self.term(features) - popularity]
        if self.gate is not None:
            share = self._text_share(text, user)
            of_each = 2 * share, 2 * (1 - share), 2 * (1 - share)
            parts = [factor * part for factor, part in zip(of_each, parts, strict=True)]
        return torch.stack(parts, dim=-1)

    def _text_share(self, text: Tensor, user: Tensor) -> Tensor:
        assert self.gate is not None
        share = torch.sigmoid(self.gate(user))  # [..., 1]
        return share if text.dim() == 2 else share.squeeze(-1)


def _layer(size: int, hidden: int) -> nn.Sequential:
    """A hidden layer whose output starts at 0."""
    out = nn.Linear(hidden, 1, bias=False)
    nn.init.zeros_(out.weight)
    return nn.Sequential(nn.Linear(size, hidden), nn.GELU(), out)
