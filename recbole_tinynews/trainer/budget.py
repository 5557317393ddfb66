"""Training budget: text read, candidates of clicks, FLOPs."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from recbole_tinynews.data.fields import CANDIDATES, LENGTHS
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.encoder.words import WordEncoder
from recbole_tinynews.processes.group import all_gather_object, process_group


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
    """Counts the budget of all ``learners``; ``model``, one of them, is served."""

    def __init__(self, model: nn.Module, learners: nn.Module, reads_clicks: bool) -> None:
        self.reads_clicks = reads_clicks
        self.counted = Budget()  # without tokens and FLOPs
        own = {*model.modules()}
        self.encoders = {
            each: (each in own, each.trained_tokens)
            for each in learners.modules()
            if isinstance(each, TextEncoder | WordEncoder)
        }

    def add_batch(self, batch: Any) -> None:
        """Count the samples in this process's shard of a batch."""
        shares = getattr(batch, "shares", None)
        if shares is not None and not shares["samples"]:
            return
        if self.reads_clicks:
            added = Budget(clicks_x_candidates=batch[CANDIDATES].numel())
        else:
            added = Budget(articles=len(batch[LENGTHS] if LENGTHS in batch else batch[CANDIDATES]))
        self.counted = self.counted.plus(added)

    def add(self, before: Budget) -> None:
        """Add the budget used before a resume, in the first process only."""
        if process_group().first:
            self.counted = self.counted.plus(before)

    def total(self) -> Budget:
        """Sum over all processes, each of which must call it."""
        own = self.counted
        for encoder, (of_model, start) in self.encoders.items():
            tokens = encoder.trained_tokens - start
            read = tokens if of_model and not self.reads_clicks else 0
            own = own.plus(Budget(tokens=read, flops=tokens * flops_per_token(encoder)))
        return Budget(*map(sum, zip(*all_gather_object(own), strict=True)))


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
