"""Training budget (text read, candidates of clicks, FLOPs) and speed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.encoder.words import WordEncoder
from recbole_tinynews.processes.group import all_gather_object


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
