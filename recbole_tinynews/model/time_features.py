"""Time features: age, exposures and click rates of candidates, and their term in a score."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.data.ragged import Ragged


def fit_conditional_logit(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    offsets: NDArray[np.int64],
    penalty: float = 1e-4,
    rising: int = 0,
) -> NDArray[np.float64]:
    """Weights that maximise the likelihood of the clicks, ``[features]``, by L-BFGS.

    The loss is the mean over impressions plus ``penalty`` times the squared norm of the weights.
    The first ``rising`` weights are at least ``LEAST``.
    An impression's target is spread over its clicks; ``ValueError`` if none has clicks and others.
    ``features`` are ``[candidates, features]``, to be standardised; ``labels`` ``[candidates]``, 1
    where clicked; ``offsets`` ``[impressions + 1]``, bounds of the impressions.
    """
    from scipy.optimize import minimize  # half a second, which a service need not wait

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
    start = np.zeros(x.shape[1])
    start[:rising] = LEAST
    bounds = [(LEAST if column < rising else None, None) for column in range(len(start))]
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x


LEAST = 1e-3  # weight of a feature that never lowers a score; at 0 it would have no gradient
PRIOR_EXPOSURES = 20.0  # smooth click rates
# The start of the term's layers, chosen on validation impressions (benchmarks/record/choices.md)
START_STEPS, START_BATCH, START_RATE = 800, 512, 2e-3
PASSES = 10  # at most, over the impressions of fit_again


class TimeFeatures(nn.Module):
    """Age, exposures and click rates of candidates, standardised on the training candidates.

    From the counters of ``data.popularity.Counting`` with W windows, 2 + W features: log(1 + hours
    of age), log(1 + exposures in the longest window), and for each window the log of the click
    rate, smoothed by that of training, ``log((c + 20 r) / (s + 20))``. ``extended`` ones, over L
    limited windows, are 1 + 3 W + 2 L: for each window log(1 + clicks), log(1 + exposures), the
    click rate and the log of the article's shares of the site's clicks,
    ``log((c + 0.1) / (C + 1))``, and of its exposures. Of theirs, windows after the first leave out
    what the first one counts, so that a click of this moment changes three features alone, the
    ``rising`` ones, which stand first; then comes the age. All are kept within the range of the
    training candidates, since a hidden layer means nothing outside it; but the rising ones have
    no upper bound, as more clicks than ever seen are to count (``surplus``). A click whose exposure
    nobody reported counts as one. While the whole site has more exposures in the longest limited
    window than at any moment of training, all counts of others are smaller in proportion: a click
    means less on a larger site. No feature depends on which other articles are ranked.

    With ``reader``, 2 W + 5 more: log(1 + clicks) and log(1 + exposures) of the reader's own of the
    candidate, windows apart as above; log(1 + hours) since they first and last saw it and since
    they were last here; whether they saw it, and whether they were here before. ``further`` ones,
    made of vectors, are read as they are.
    """

    click_rate: Tensor
    mean: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor
    most: Tensor
    largest: Tensor
    counts: Tensor
    priors: Tensor
    of_rates: Tensor
    logarithms: Tensor
    of_others: Tensor

    def __init__(
        self,
        windows: int,
        limited: int,
        extended: bool = False,
        reader: bool = False,
        further: int = 0,
    ) -> None:
        super().__init__()
        self.windows, self.limited, self.extended = windows, limited, extended
        self.reader, self.further = reader, further
        of_reader = 2 * windows + 5 if reader else 0
        own = 2 * windows + 2 if reader else 0
        self.widths = [1, 2 * windows, own, 2 * limited, int(reader), further]
        self.size = 1 + 3 * windows + 2 * limited + of_reader + further if extended else 2 + windows
        self.rising = 2 + bool(limited) if extended else 0
        self.register_buffer("click_rate", torch.tensor(0.5))
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("scale", torch.ones(self.size))
        self.register_buffer("low", torch.full([self.size], -torch.inf))
        self.register_buffer("high", torch.full([self.size], torch.inf))
        self.register_buffer("most", torch.tensor(torch.inf))  # of the first feature, clicks
        for name, table in self._tables().items():
            self.register_buffer(name, table, persistent=name == "priors")
        # exposures of the site in training, of columns that count others; inf: of the rest
        self.register_buffer("largest", torch.full([sum(self.widths[:5])], torch.inf))

    def _tables(self) -> dict[str, Tensor]:
        """What ``unscaled`` reads: each feature is a difference of logarithms of counts.

        ``counts``, ``[logarithms, columns]``, are differences of columns, to which ``priors`` are
        added, by click rate where ``of_rates``; ``logarithms`` is ``[features, logarithms]``.
        """
        windows, limited, reader = self.windows, self.limited, int(self.reader)
        sizes = [1, *[windows] * 2, *[reader * windows] * 2, 2 * reader, *[limited] * 2, reader]
        age, *windowed, seen, site_clicks, site_exposures, here = torch.eye(sum(sizes)).split(sizes)
        clicks, exposures, *own = map(_apart, windowed)
        counts = {
            "age": (age, 1),
            "clicks": (clicks, 1),
            "clicks of rate": (clicks, PRIOR_EXPOSURES / 2),  # until `fit`
            "clicks of share": (clicks[:limited], 0.1),
            "exposures": (exposures, 1),
            "exposures of rate": (exposures, PRIOR_EXPOSURES),
            "exposures of share": (exposures[:limited], 0.1),
            "clicks of site": (_apart(site_clicks), 1),
            "exposures of site": (_apart(site_exposures), 1),
            "reader": (torch.cat([*own, seen, here]), 1),
        }
        lengths = [len(rows) for rows, _ in counts.values()]
        log = dict(zip(counts, torch.eye(sum(lengths)).split(lengths), strict=True))
        by_clicks = (
            log["clicks"],
            log["clicks of rate"] - log["exposures of rate"],
            log["clicks of share"] - log["clicks of site"],
        )
        rising, others = [each[:1] for each in by_clicks], [each[1:] for each in by_clicks]
        of_exposures = log["exposures"], log["exposures of share"] - log["exposures of site"]
        is_of_others = torch.tensor([0, 1, 1, 0, 0, 0, 1, 1, 0]) > 0
        return {
            "counts": torch.cat([rows for rows, _ in counts.values()]),
            "priors": torch.cat(
                [torch.full([len(rows)], prior) for rows, prior in counts.values()]
            ),
            "of_rates": log["clicks of rate"].any(0),
            "logarithms": torch.cat([*rising, log["age"], *others, *of_exposures, log["reader"]]),
            "of_others": is_of_others.repeat_interleave(torch.tensor(sizes)),
        }

    @torch.no_grad()
    def fit(self, counters: Tensor, labels: Tensor) -> None:
        """Set click rate, scale and range from counters ``[candidates, features]`` and labels."""
        self.click_rate.fill_(float((labels == 1).double().mean().clamp(1e-6, 1 - 1e-6)))
        self.priors[self.of_rates] = PRIOR_EXPOSURES * self.click_rate
        if self.limited:
            self.largest[self.of_others] = self.site_size(counters).max().clamp(min=1)
        features = self.unscaled(counters)
        if self.extended:
            self.low.copy_(features.amin(0))
            self.high[self.rising :] = features.amax(0)[self.rising :]
        most = features[:, 0].max()
        features = features.double()
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0, correction=0).clamp(min=1e-9))
        if self.extended and self.limited:  # clicks of all time grow with the age of a site
            self.most.copy_((most - self.mean[0]) / self.scale[0])

    def unscaled(self, counters: Tensor) -> Tensor:
        """Features before standardising, ``[..., counters] -> [..., features]``.

        ``counters`` are in the order of ``Counting.names`` and of ``moments``, then ``further``.
        """
        columns, windows = self._columns(counters.detach()), self.windows
        if not self.extended:
            age, clicks, exposures = columns[..., : 1 + 2 * windows].split(
                [1, windows, windows], -1
            )
            logs = age.log1p(), exposures.amax(-1, keepdim=True).log1p()
            return torch.cat([*logs, self.rate(clicks, exposures).log()], dim=-1)
        with _full_precision(columns.device.type):  # counts are not to be rounded
            counts = F.linear(columns, self.counts).clamp_(min=0)
            features = [F.linear(counts.add_(self.priors).log_(), self.logarithms)]
        if self.reader:
            last_times = sum(self.widths[:3]) - 1, sum(self.widths[:5]) - 1
            features += [columns[..., place : place + 1] >= 0 for place in last_times]
        if self.further:
            features.append(counters[..., sum(self.widths[:5]) :][..., : self.further])
        return torch.cat(features, dim=-1) if features[1:] else features[0]

    def _columns(self, counters: Tensor) -> Tensor:
        """Counters but the further ones, others' as on a site of training's size.

        A click without an exposure has one.
        """
        share = self.largest / self.site_size(counters) if self.limited else self.largest
        columns = counters[..., : sum(self.widths[:5])] * share.clamp(max=1)
        ends = 1 + self.windows, 1 + 2 * self.windows
        clicks, exposures = columns[..., 1 : ends[0]], columns[..., slice(*ends)]
        exposures.copy_(torch.maximum(clicks, exposures))
        return columns

    def site_size(self, counters: Tensor) -> Tensor:
        """Exposures of the whole site in the longest limited window, ``[..., 1]``.

        Not its clicks: a further one would lower all other counts, and so perhaps a score.
        """
        stop = sum(self.widths[:4])
        exposures = counters[..., stop - self.limited : stop]
        return exposures.amax(-1, keepdim=True)

    def without_reader(self, counters: Tensor) -> Tensor:
        """The counters of a reader who is new to the site, and on no page."""
        neutral = counters.clone()
        start = sum(self.widths[:2])
        neutral[..., start : start + 2 * self.windows] = 0
        neutral[..., [start + 2 * self.windows, start + 2 * self.windows + 1]] = -1
        stop = sum(self.widths[:4])
        neutral[..., stop : stop + 1] = -1
        neutral[..., stop + 1 :] = 0
        return neutral

    def rate(self, clicks: Tensor, exposures: Tensor) -> Tensor:
        """Click rate, smoothed by that of training."""
        return (clicks + PRIOR_EXPOSURES * self.click_rate) / (exposures + PRIOR_EXPOSURES)

    def forward(self, counters: Tensor) -> Tensor:
        """Standardised features, ``[..., counters] -> [..., features]``."""
        features = torch.clamp(self.unscaled(counters), self.low, self.high)
        return (features - self.mean) / self.scale

    def surplus(self, features: Tensor) -> Tensor:
        """By how much log(1 + clicks) of the first window is beyond training's.

        ``[..., features] -> [...]``, from standardised ones. What was never seen cannot be learnt:
        a score grows by it as such, so that the odds of a click grow as the clicks do.
        """
        return (features[..., 0] - self.most).clamp(min=0) * self.scale[0]


def _full_precision(device: str) -> AbstractContextManager[Any]:
    """Without autocast, which takes a while to be told so."""
    enabled = torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if enabled else nullcontext()


def _apart(windows: Tensor) -> Tensor:
    """Counts of windows, of which those after the first leave out what that one counts."""
    return torch.cat([windows[:1], windows[1:] - windows[:1]])


class Branch(NamedTuple):
    """Weights as they are multiplied: of two hidden layers, with biases, and of the output."""

    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    out: Tensor


class RisingLayers(nn.Module):
    """Two hidden layers whose output never falls where one of the first ``rising`` inputs rises.

    Weights from these inputs on are absolute values, and half of the units are convex, half
    concave (Runje and Shankaranarayana, ICML 2023), so that they can bend both ways. Two more
    layers read the other inputs alone, and are free.
    """

    bends: Tensor

    def __init__(self, rising: int, others: int, hidden: int) -> None:
        super().__init__()
        self.of_rising = nn.Linear(rising, hidden, bias=False)
        self.of_others = nn.Linear(others, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.out = nn.Parameter(torch.rand(hidden) / hidden)
        bends = torch.ones(hidden)  # -1 for concave units, -elu(-x)
        bends[hidden // 2 :] = -1
        self.register_buffer("bends", bends, persistent=False)
        self.free_out = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.free_out.weight)
        self.free_first, self.free_second = nn.Linear(others, hidden), nn.Linear(hidden, hidden)

    def forward(self, features: Tensor, branches: tuple[Branch, Branch]) -> Tensor:
        """``[..., rising + others] -> [...]``, by the weights of ``branches``."""
        rising, free = branches
        units = F.elu(F.linear(F.elu(F.linear(features, *rising.first)), *rising.second))
        others = F.gelu(F.linear(F.gelu(F.linear(features, *free.first)), *free.second))
        return units @ rising.out + others @ free.out

    def branches(self) -> tuple[Branch, Branch]:
        """The rising layers, whose weights are absolute and have signs of ``bends``, and the free.

        Both read all features, the free ones with weights of 0 for those that rise.
        """
        bends, free = self.bends, self.free_first
        first = torch.cat([self.of_rising.weight.abs(), self.of_others.weight], dim=1)
        second = self.second.weight.abs() * bends[:, None] * bends, self.second.bias * bends
        rising = (first * bends[:, None], self.of_others.bias * bends), second
        of_free = F.pad(free.weight, (self.of_rising.in_features, 0)), free.bias
        of_second = self.free_second.weight, self.free_second.bias
        return (
            Branch(*rising, self.out.abs() * bends),
            Branch(of_free, of_second, self.free_out.weight[0]),
        )


class TimeScore(nn.Module):
    """A term of a score, ``text + time``: linear in ``TimeFeatures``, plus two hidden layers.

    More clicks never lower it, and those beyond training's add their ``surplus``. Text scores get
    one common weight, so that ranking by text keeps its order. ``hidden=0`` leaves out the hidden
    layers.
    """

    def __init__(
        self, windows: int, limited: int, hidden: int, reader: bool = False, further: int = 0
    ) -> None:
        super().__init__()
        self.features = TimeFeatures(windows, limited, True, reader, further)
        rising, others = self.features.rising, self.features.size - self.features.rising
        self.text_weight = nn.Parameter(torch.ones(()))
        self.rising_weights = nn.Parameter(torch.zeros(rising))
        self.weights = nn.Parameter(torch.zeros(others))
        self.layers = RisingLayers(rising, others, hidden) if hidden else None
        self._frozen: tuple[Tensor, tuple[Branch, Branch] | None] | None = None

    @torch.no_grad()
    def freeze(self) -> None:
        """Compute once what depends on the weights alone: they are not to change any more."""
        self._frozen = self._merged()

    def _merged(self) -> tuple[Tensor, tuple[Branch, Branch] | None]:
        linear = torch.cat([self.rising_weights.abs(), self.weights])
        return linear, None if self.layers is None else self.layers.branches()

    def start(self, text: Tensor, counters: Tensor, labels: Tensor, offsets: Tensor) -> None:
        """Fit initial weights: the conditional logit, then the hidden layers on its likelihood.

        ``text`` and ``labels`` are ``[candidates]``, ``counters`` ``[candidates, counters]``,
        ``offsets`` ``[impressions + 1]``, bounds of the impressions among the candidates.
        """
        self.features.fit(counters, labels)
        features = self.features(counters)
        spread = text.double().std(correction=0).clamp(min=1e-9)
        both = torch.cat([features, (text / spread).unsqueeze(1)], dim=1)
        rising = self.features.rising
        fitted = both.cpu().numpy(), labels.cpu().numpy(), offsets.cpu().numpy()
        weights = torch.from_numpy(fit_conditional_logit(*fitted, rising=rising))
        with torch.no_grad():
            self.rising_weights.copy_(weights[:rising])
            self.weights.copy_(weights[rising:-1])
            self.text_weight.copy_(weights[-1] / spread.cpu())
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
        parameters = [text_weight, self.rising_weights, self.weights, *layers]
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
        linear, branches = self._frozen or self._merged()
        term = features @ linear + self.features.surplus(features)
        return term if self.layers is None else term + self.layers(features, branches)

    def forward(self, text: Tensor, counters: Tensor, user: Tensor, news: Tensor) -> Tensor:
        """Scores, of the shape of ``text``: ``[batch, candidates]`` or ``[candidates]``.

        ``counters`` is ``[*text.shape, counters]``; ``user`` and ``news`` are not read.
        """
        return self.text_weight * text + self.term(self.features(counters))

    def parts(self, text: Tensor, counters: Tensor) -> Tensor:
        """Parts of scores: text, popularity (at an average age), freshness, and the reader's.

        ``[..., 3]``, and with ``reader`` ``[..., 4]``: what is added since this reader is not a
        new one.
        """
        reader, whole = self.features.reader, self.term(self.features(counters))
        features = self.features(self.features.without_reader(counters) if reader else counters)
        of_anyone = self.term(features)
        at_mean_age = features.clone()
        at_mean_age[..., self.features.rising] = 0
        popularity = self.term(at_mean_age)
        parts = [self.text_weight * text, popularity, of_anyone - popularity]
        return torch.stack([*parts, whole - of_anyone] if reader else parts, dim=-1)
