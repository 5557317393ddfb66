"""Trainers of title-body matching: post-training of the teacher, and the student's Stage I."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from recbole.data.interaction import Interaction

from recbole_tinynews.files.tensors import save_weights
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.trainer.distillation_trainer import DistillationTrainer
from recbole_tinynews.trainer.hard_titles import choose_titles
from recbole_tinynews.trainer.news_trainer import NewsTrainer
from recbole_tinynews.trainer.optimization import most_steps
from recbole_tinynews.trainer.training_state import TrainingState

COPIES = "copies"  # folder beside the weights


def most_copies(config: Settings, batches: int) -> int:
    """How many copies a post-training saves that early stopping does not end.

    Args:
        config: the settings of its stage.
        batches: of one pass over its data.
    """
    steps = most_steps(batches, config["epochs"], config["accumulation_steps"], config["max_steps"])
    return max(1, math.ceil(steps / config["teacher_checkpoint_interval"]))


class PostTrainingTrainer(NewsTrainer):
    """Saves a copy of the teacher every ``teacher_checkpoint_interval`` steps, and at the end.

    Each copy becomes a teacher. It holds only the weights that train; the others are those of
    ``model.safetensors`` beside it.
    """

    @property
    def copies_folder(self) -> Path:
        """The folder of the copies, ``step-N.safetensors``."""
        return self.folder / COPIES

    def fit(self, train_data: Any, valid_data: Any = None, **kwargs: Any) -> tuple:
        """Train as ``NewsTrainer`` does, but save the last weights instead of the best ones."""
        result = super().fit(train_data, valid_data, **kwargs)
        self._save_copy()
        self._save_checkpoint(self.epochs - 1, verbose=False)
        return result

    def prepare(self, interaction: Interaction) -> Interaction:
        """Choose the titles of the batch."""
        return super().prepare(choose_titles(self.config, self.model, interaction))

    def _saved_so_far(self, state: TrainingState) -> list[Path]:
        return [*super()._saved_so_far(state), *self.copies_folder.glob("step-*.safetensors")]

    def _after_step(self) -> None:
        if self.step % self.config["teacher_checkpoint_interval"] == 0:
            self._save_copy()

    def _save_copy(self) -> None:
        if not self.group.first:
            return
        frozen = {n for n, p in self.model.named_parameters() if not p.requires_grad}
        frozen.update(name for name, _ in self.model.named_buffers())
        # adapters have no name of their own there, and what they adapt is not frozen
        trained = {n: p for n, p in self.model.state_dict().items() if n not in frozen}
        save_weights(trained, self.copies_folder / f"step-{self.step}.safetensors")


class StageOneTrainer(DistillationTrainer):
    """Trains the student under its post-trained teachers."""

    def prepare(self, interaction: Interaction) -> Interaction:
        """Choose the titles of the batch, then add the outputs of the teachers."""
        return super().prepare(choose_titles(self.config, self.model, interaction))
