"""Trainers of title-body matching: the teacher's post-training, and the student's Stage I."""

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

    def prepare(self, interaction: Interaction) -> Interaction:
        """Choose the batch's titles."""
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
        # state_dict merges adapters into the weights that they adapt, which count as trained
        trained = {n: p for n, p in self.model.state_dict().items() if n not in frozen}
        save_weights(trained, self.copies_folder / f"step-{self.step}.safetensors")


class StageOneTrainer(DistillationTrainer):
    """Trains the student under post-trained teachers."""

    def prepare(self, interaction: Interaction) -> Interaction:
        """Choose the batch's titles, then add the teachers' outputs."""
        return super().prepare(choose_titles(self.config, self.model, interaction))
