"""Trainers of RecBole's own models on impressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.trainer.impression_evaluation import ImpressionEvaluation
from recbole_tinynews.trainer.losses import LossMeans, as_terms
from recbole_tinynews.trainer.stage_events import TRAIN

AT_ONCE = 256  # histories per pass


def scores_by_sequence(model: Any, interaction: Interaction) -> Tensor | None:
    """``predict``'s scores, ``[rows]`` (not CORE's and SHAN's), in a pass per distinct history.

    ``None`` for models without sequences, and for those that read the candidate too, as DIN does:
    their ``full_sort_predict`` is RecBole's, which is not implemented.
    """
    if not isinstance(model, SequentialRecommender):
        return None
    items = interaction[model.ITEM_ID]
    read = (model.USER_ID, model.ITEM_SEQ_LEN, model.ITEM_SEQ)
    rows = torch.column_stack([interaction[field] for field in read])
    distinct, history = torch.unique(rows, dim=0, return_inverse=True)
    row = torch.empty(len(distinct), dtype=torch.long, device=items.device)
    row[history] = torch.arange(len(items), device=items.device)  # any row with that history
    shown = Interaction(
        {f: v[row] for f, v in interaction.interaction.items() if len(v) == len(rows)}
    )
    scores = torch.empty(len(items), device=items.device)
    for start in range(0, len(distinct), AT_ONCE):
        part = shown[start : start + AT_ONCE]
        try:
            of_all = model.full_sort_predict(part).reshape(len(part), -1)  # [histories, items]
        except NotImplementedError:
            return None
        asked = (history >= start) & (history < start + AT_ONCE)
        scores[asked] = of_all[history[asked] - start, items[asked]].to(scores.dtype)
    return scores


class RecBoleTraining(ImpressionEvaluation):
    """A mixin for RecBole's trainers on impressions, with their own epochs."""

    model: Any
    epochs: int
    eval_step: int

    def fit(self, *args: Any, **kwargs: Any) -> tuple:
        """Train as the RecBole trainer does; validate even after a single epoch."""
        self.eval_step = min(self.eval_step, self.epochs)
        return super().fit(*args, **kwargs)

    def _train_epoch(
        self,
        train_data: Any,
        epoch_idx: int,
        loss_func: Callable[[Any], Any] | None = None,
        show_progress: bool = False,
    ) -> Any:
        batches, compute = len(train_data), loss_func or self.model.calculate_loss
        self.progress.begin(self.step, self.step + (self.epochs - epoch_idx) * batches)
        with progress_bar(
            desc=f"epoch {epoch_idx}", shown=show_progress, total=batches, unit=" batches"
        ) as bar:

            def counted(batch: Any) -> Any:
                bar.update()
                return compute(batch)

            losses = super()._train_epoch(train_data, epoch_idx, counted)
        self.step += batches
        self.progress.reach(self.step)
        if losses is not None:
            means = LossMeans(batches=batches - 1)  # RecBole returns sums over batches
            means.add(as_terms(losses))
            self.curve.add_batch(means.means())
            self.tensorboard.log(TRAIN, self.step, self.curve.close(self.step))
        return losses

    def _add_train_loss_to_tensorboard(self, *args: Any, **kwargs: Any) -> None:
        """Disabled: the mean is already logged, instead of RecBole's sum."""

    def _neg_sample_batch_eval(self, batched_data: tuple) -> tuple:
        """Score a batch; ``[]``, which some models return for one row, becomes ``[1]``."""
        interaction = batched_data[0].to(self.device)
        by_sequence = scores_by_sequence(self.model, interaction)
        if by_sequence is not None:
            return interaction, by_sequence, None, None
        interaction, scores, *nothing = super()._neg_sample_batch_eval(batched_data)
        return interaction, torch.atleast_1d(scores), *nothing

    def resume_checkpoint(self, resume_file: str | None = None) -> None:
        """Disabled: RecBole's saved state is a pickle, so training starts over."""


def on_impressions(trainer: type) -> type:
    """Subclass of a RecBole trainer that ranks whole impressions and saves without pickle."""
    if issubclass(trainer, ImpressionEvaluation):
        return trainer
    return type(f"Impression{trainer.__name__}", (RecBoleTraining, trainer), {})
