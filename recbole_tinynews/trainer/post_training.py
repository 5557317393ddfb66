"""Trainers of stages without clicks: masked tokens, and title-body matching of teachers."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.files.tensors import save_weights
from recbole_tinynews.processes.group import all_gather_object, shard_slice
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.trainer.checkpoints import TrainingState
from recbole_tinynews.trainer.losses import Losses
from recbole_tinynews.trainer.news_trainer import NewsTrainer
from recbole_tinynews.trainer.optimization import most_steps

COPIES = "copies"  # folder of checkpoints beside the weights
LOSS, ACCURACY, TOKENS = "held_out_loss", "accuracy", "tokens"


def most_copies(config: Settings, batches: int) -> int:
    """Copies that a post-training saves without early stopping; ``batches`` per epoch."""
    steps = most_steps(batches, config["epochs"], config["accumulation_steps"], config["max_steps"])
    return max(1, math.ceil(steps / config["teacher_checkpoint_interval"]))


class PostTrainingTrainer(NewsTrainer):
    """Saves trained weights every ``teacher_checkpoint_interval`` steps and at the end."""

    @property
    def copies_folder(self) -> Path:
        """Folder of the copies, ``step-N.safetensors``."""
        return self.folder / COPIES

    def fit(self, train_data: Any, valid_data: Any = None, **kwargs: Any) -> tuple:
        """Train as ``NewsTrainer`` does, but save the last weights instead of the best."""
        result = super().fit(train_data, valid_data, **kwargs)
        self._save_copy()
        self._save_checkpoint(self.epochs - 1, verbose=False)
        return result

    def _saved_so_far(self, state: TrainingState) -> list[Path]:
        return [*super()._saved_so_far(state), *self.copies_folder.glob("step-*.safetensors")]

    def after_step(self, step: int, losses: Losses) -> None:
        """Count the step, and save a copy if it is due."""
        super().after_step(step, losses)
        if step % self.config["teacher_checkpoint_interval"] == 0:
            self._save_copy()

    def _save_copy(self) -> None:
        if not self.group.first:
            return
        frozen = {n for n, p in self.model.named_parameters() if not p.requires_grad}
        frozen.update(name for name, _ in self.model.named_buffers())
        trained = {n: p for n, p in self.model.state_dict().items() if n not in frozen}
        save_weights(trained, self.copies_folder / f"step-{self.step}.safetensors")


class MaskedLanguageModelTrainer(NewsTrainer):
    """Keeps the weights of lowest held-out loss; validates loss and accuracy on masked tokens."""

    def __init__(self, config: Settings, model: Any, folder: Path | None = None) -> None:
        super().__init__(config, model, folder)
        self.valid_metric, self.valid_metric_bigger = LOSS, False
        self.best_valid_score = np.inf

    @torch.no_grad()
    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict]:
        self.model.eval()
        own = shard_slice(len(valid_data), self.group)
        batches = itertools.islice(valid_data, own.start, own.stop)
        sums = []
        total = own.stop - own.start
        for batch in progress_bar(batches, desc="Evaluate", shown=show_progress, total=total):
            with self._autocast():
                scores, truth = self.model.guess(batch.to(self.device))
            loss = F.cross_entropy(scores, truth, reduction="sum").item()
            sums.append((loss, int((scores.argmax(dim=-1) == truth).sum()), len(truth)))
        # all batches in their order, so that the sum equals that of one process to the last digit
        loss, right, tokens = map(sum, zip(*itertools.chain(*all_gather_object(sums)), strict=True))
        counted, places = max(tokens, 1), self.config["metric_decimal_place"]
        means = {LOSS: loss / counted, ACCURACY: right / counted}
        result = {**{name: round(mean, places) for name, mean in means.items()}, TOKENS: tokens}
        self._add_validation(result)
        return result[LOSS], result
