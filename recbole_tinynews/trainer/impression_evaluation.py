"""Bases of trainers on impressions: ranks whole ones, saves without pickle; RecBole's epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.trainer import Trainer
from recbole.utils import set_color
from torch import Tensor

from recbole_tinynews.evaluation.collector import ImpressionCollector
from recbole_tinynews.evaluation.metrics import is_count
from recbole_tinynews.files.progress import StageProgress, progress_bar
from recbole_tinynews.files.tensors import WEIGHTS, load_weights, save_weights
from recbole_tinynews.processes.group import process_group
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.trainer.checkpoints import put_model_state, take_model_state
from recbole_tinynews.trainer.losses import (
    BudgetCounter,
    LossMeans,
    as_terms,
    loss_columns,
)
from recbole_tinynews.trainer.stage_events import EPOCH, TRAIN, VALID, StageEvents, events_of


class ImpressionEvaluation(Trainer):
    """A mixin to put before a RecBole trainer among a class's bases.

    ``folder`` is that of the best weights (``None``: RecBole's), ``saved_model_file`` their file;
    ``step`` counts optimizer steps, and ``budget`` text and computation (``None``: not counted).
    """

    saved_model_file: str
    config: Settings
    tensorboard: StageEvents

    def __init__(self, config: Settings, model: Any, folder: Path | None = None) -> None:
        self.progress = StageProgress(type(model).__name__)
        self.config = config
        with events_of(self):
            super().__init__(config, model)
        self.eval_collector = ImpressionCollector(config)
        named = Path(self.saved_model_file).with_suffix(".safetensors")
        self.saved_model_file = str(named if folder is None else folder / WEIGHTS)
        self.folder = Path(self.saved_model_file).parent
        self.step = 0
        self.budget: BudgetCounter | None = None
        self.rates: dict[str, float] = {}  # speeds of the last epoch

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict]:
        """Validate as RecBole does, but refuse NaN, which no weights would beat."""
        score, result = super()._valid_epoch(valid_data, show_progress=show_progress)
        if math.isnan(score):
            raise ValueError(
                "Validation expects impressions with clicked and unclicked candidates, and found "
                f"none among {len(valid_data.impressions.impression_id)}. Give labelled validation "
                "data, or train without: --eval_step=0."
            )
        self._add_validation(result)
        return score, result

    def _add_validation(self, result: Mapping[str, Any]) -> None:
        metrics = {name: float(value) for name, value in result.items() if not is_count(name)}
        self.tensorboard.log(VALID, self.step, metrics)

    def _generate_train_loss_output(
        self, epoch_idx: int, s_time: float, e_time: float, losses: Any
    ) -> str:
        line = super()._generate_train_loss_output(epoch_idx, s_time, e_time, losses)
        return self.progress.around(line)

    def _add_train_loss_to_tensorboard(
        self, epoch_idx: int, losses: Any, tag: str = "Loss/Train"
    ) -> None:
        self.tensorboard.log(EPOCH, self.step, {**loss_columns(losses), **self.rates})

    def _neg_sample_batch_eval(self, batched_data: tuple) -> tuple:
        interaction = batched_data[0].to(self.device)
        return interaction, self.model.predict(interaction), None, None

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> dict | None:
        """Evaluate as RecBole does, but load weights without pickle."""
        if not eval_data:
            return None
        if load_best_model:
            path = Path(model_file or self.saved_model_file)
            put_model_state(self.model, load_weights(path), path)
            self.logger.info(f"Loading model structure and parameters from {path}")
        eval_data.group = process_group()
        self.before_ranking(eval_data, show_progress)
        with progress_bar(
            desc="Evaluate", shown=show_progress, total=len(eval_data), unit=" batches"
        ) as bar:
            self.eval_collector.start(eval_data.impressions, eval_data.facts, bar.update)
            return super().evaluate(eval_data, load_best_model=False)  # its bar has 100 columns

    def before_ranking(self, eval_data: Any, show_progress: bool) -> None:
        """Hook to prepare the model for the articles of ``eval_data``."""

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        if not process_group().first:
            return
        path = Path(kwargs.pop("saved_model_file", self.saved_model_file))
        save_weights(take_model_state(self.model), path)
        if verbose:
            self.logger.info(set_color("Saving current", "blue") + f": {path}")


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
            self.tensorboard.log(TRAIN, self.step, loss_columns(means.means()))
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
