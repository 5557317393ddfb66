"""What is counted in a training: losses by name, the budget and the pace."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recbole_tinynews.data.dataloader import NewsBatch
from recbole_tinynews.distillation.loss_terms import loss_terms
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.encoder.words import WordEncoder
from recbole_tinynews.processes.group import all_gather_object, all_reduce

Losses = Any  # a NamedTuple of tensors, or of plain values
POINTS = 200  # of each loss in TensorBoard, at most


def as_terms(losses: Any) -> Losses:
    """Losses as a NamedTuple, whatever the model returns."""
    if not isinstance(losses, tuple):
        return loss_terms({"train": losses})
    if hasattr(losses, "_fields"):
        return losses
    return loss_terms({f"train_loss{number}": loss for number, loss in enumerate(losses, 1)})


def named_losses(losses: Losses) -> list[tuple[str, float]]:
    """``(name, value)`` of each loss, after the sum if there are several."""
    named = [(f"{name} loss", value) for name, value in losses._asdict().items()]
    return named if len(named) == 1 else [("train loss", sum(losses)), *named]


def parts_of_means(losses: Losses, batch: NewsBatch, model: Any) -> Losses:
    """Scale means over this process's shard so that their sum over processes is the batch mean."""
    shares, units = dict(batch.shares or {}), model.loss_units
    if batch.articles is not None:
        shares |= model.news_encoder.shares(batch.articles.ids)
    return type(losses)(
        *(loss * shares[units.get(name, "samples")] for name, loss in losses._asdict().items())
    )


class PendingLosses:
    """Losses of several batches, read from the device together, and summed over processes."""

    def __init__(self) -> None:
        self._batches: list[tuple[int, Any, torch.Tensor]] = []

    def add(self, step: int, losses: Losses) -> torch.Tensor:
        """Keep a batch's losses; returns them, ``[losses]``."""
        values = torch.stack([each.detach() for each in losses])
        self._batches.append((step, type(losses), values))
        return values

    def read(self) -> list[tuple[int, Losses]]:
        """Step and plain losses of each batch kept; empties the list."""
        if not self._batches:
            return []
        batches, self._batches = self._batches, []
        values = iter(all_reduce(torch.cat([losses for _, _, losses in batches])).tolist())
        return [
            (step, kind(*itertools.islice(values, len(losses)))) for step, kind, losses in batches
        ]


class LossMeans:
    """Running means of losses, summed in float64 so that a resumed run logs the same values."""

    def __init__(self, sums: Mapping[str, float] | None = None, batches: int = 0) -> None:
        self.sums, self.batches = dict(sums or {}), batches

    def add(self, losses: Losses) -> None:
        """Add the losses of a batch."""
        for name, value in losses._asdict().items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.batches += 1

    def total(self) -> float:
        """Mean of the sum of all losses."""
        return sum(self.sums.values()) / max(self.batches, 1)

    def means(self) -> Losses:
        """The mean of each loss."""
        means: dict[str, Any] = {n: s / max(self.batches, 1) for n, s in self.sums.items()}
        return loss_terms(means)

    def as_dict(self) -> dict[str, Any]:
        """Plain values; ``LossMeans(**values)`` restores the means."""
        return {"sums": self.sums, "batches": self.batches}


def loss_columns(losses: Losses) -> dict[str, float]:
    """Losses by column name: their sum, and each term if there are several."""
    return {name.replace(" ", "_"): float(value) for name, value in named_losses(losses)}


class Budget(NamedTuple):
    """Budget used by a training.

    ``articles`` and ``tokens`` are those of stages without clicks (tokens repeated in a batch count
    once), ``clicks_x_candidates`` all candidates of trained clicks, and ``flops`` the forward and
    backward operations of the text encoders' trained layers.
    """

    articles: int = 0
    tokens: int = 0
    clicks_x_candidates: int = 0
    flops: int = 0

    def plus(self, other: Budget) -> Budget:
        """Sum by field."""
        return Budget(*map(sum, zip(self, other, strict=True)))


class BudgetCounter:
    """Counts the budget of all ``learners``; ``model``, one of them, is served.

    ``samples`` are those of all processes: clicks with so many ``candidates``, or with 0 articles.
    ``before`` is the budget used before a resume.
    """

    def __init__(self, model: nn.Module, learners: nn.Module, candidates: int = 0) -> None:
        self.candidates, self.samples, self.before = candidates, 0, Budget()
        own = {*model.modules()}
        self.encoders = {
            each: (each in own, each.trained_tokens)
            for each in learners.modules()
            if isinstance(each, TextEncoder | WordEncoder)
        }

    def total(self) -> Budget:
        """Sum over all processes, each of which must call it."""
        tokens = flops = 0
        for encoder, (of_model, start) in self.encoders.items():
            read = encoder.trained_tokens - start
            tokens += read if of_model and not self.candidates else 0
            flops += read * flops_per_token(encoder)
        tokens, flops = map(sum, zip(*all_gather_object((tokens, flops)), strict=True))
        articles = 0 if self.candidates else self.samples
        clicks_x_candidates = self.samples * self.candidates
        return self.before.plus(Budget(articles, tokens, clicks_x_candidates, flops))


class Pace:
    """Speed of a round of training, and its share of time that waits for the loader."""

    def __init__(self, counter: BudgetCounter) -> None:
        self.counter, self.began, self.waited = counter, time.perf_counter(), 0.0
        self.start = self._seen()

    def _seen(self) -> NDArray[np.int64]:
        """Samples of all processes; texts and tokens that the model encoded in this one."""
        own = [encoder for encoder, (of_model, _) in self.counter.encoders.items() if of_model]
        texts, tokens = (sum(e.trained_texts for e in own), sum(e.trained_tokens for e in own))
        return np.array([self.counter.samples, texts, tokens])

    def timed(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches, each waited for."""
        iterator = iter(batches)
        while True:
            began = time.perf_counter()
            batch = next(iterator, None)
            self.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def rates(self) -> dict[str, float]:
        """Rates by name; each process must call it. Without encoded texts, the samples' alone."""
        seconds, seen = time.perf_counter() - self.began, self._seen() - self.start
        seen[1:] = np.sum(all_gather_object(seen[1:]), axis=0)
        names = ("clicks", "titles") if self.counter.candidates else ("articles", "texts")
        counts = zip((*names, "tokens"), seen.tolist(), strict=True)
        rates = {f"{name}_per_second": count / seconds for name, count in counts if count}
        return {**rates, "loader_share": self.waited / seconds}


def flops_per_token(encoder: TextEncoder | WordEncoder) -> int:
    """FLOPs of a training step per token: 6 per trained weight of a matrix, 4 per frozen one.

    2 each for forward, activations' and weights' gradients (Kaplan et al. 2020, section 2.1), from
    the first layer that trains. Embeddings, attention products, pooling and users are left out.
    """
    if isinstance(encoder, WordEncoder):
        parts = [encoder.context, encoder.pooling]
    else:
        parts = encoder.layers[encoder.first_trained :]
    matrices = [weight for part in parts for weight in part.parameters() if weight.dim() > 1]
    return sum((6 if each.requires_grad else 4) * each.numel() for each in matrices)
