"""Trainers of RecBole's own models, on impressions."""

from __future__ import annotations

from typing import Any

import torch

from recbole_tinynews.trainer.impression_evaluation import ImpressionEvaluation
from recbole_tinynews.trainer.item_sequences import reads_sequence_alone, scores_by_sequence
from recbole_tinynews.trainer.losses import Losses


class RecBoleTraining(ImpressionEvaluation):
    """A mixin that lets a RecBole trainer, with its own epochs, run on impressions."""

    epochs: int
    eval_step: int

    def fit(self, *args: Any, **kwargs: Any) -> tuple:
        """Train as the RecBole trainer does; one with a single epoch is validated after it."""
        self.eval_step = min(self.eval_step, self.epochs)
        return super().fit(*args, **kwargs)

    def _train_epoch(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        """Train one epoch as the RecBole trainer does, and add its mean losses to the curve."""
        losses = super()._train_epoch(train_data, *args, **kwargs)
        self.step += len(train_data)
        if losses is not None:
            self.curve.add_batch(_mean(losses, len(train_data)))
            self.curve.close(self.step)
        return losses

    def _neg_sample_batch_eval(self, batched_data: tuple) -> tuple:
        """Score a batch; ``[]``, which some models return for one row, becomes ``[1]``."""
        if reads_sequence_alone(self.model):
            interaction = batched_data[0].to(self.device)
            return interaction, scores_by_sequence(self.model, interaction), None, None
        interaction, scores, *nothing = super()._neg_sample_batch_eval(batched_data)
        return interaction, torch.atleast_1d(scores), *nothing

    def resume_checkpoint(self, resume_file: str | None = None) -> None:
        """Does nothing: RecBole's saved state is a pickle, so a stopped training starts again."""


def on_impressions(trainer: type) -> type:
    """A subclass of the RecBole trainer that ranks whole impressions and saves without pickle."""
    if issubclass(trainer, ImpressionEvaluation):
        return trainer
    return type(f"Impression{trainer.__name__}", (RecBoleTraining, trainer), {})


def _mean(losses: Any, batches: int) -> Losses:
    if isinstance(losses, tuple):
        return tuple(loss / batches for loss in losses)
    return losses / batches
