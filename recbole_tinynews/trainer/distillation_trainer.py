"""Trainers of single stages: without clicks, and under teachers, frozen or trained jointly."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import nn
from torch.nn import functional as F

from recbole_tinynews.data.fields import TEACHERS
from recbole_tinynews.distillation.teachers import Teachers
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.files.tensors import COPIES, save_weights
from recbole_tinynews.model.stages.joint_teachers import JointTeachers
from recbole_tinynews.processes.group import all_gather_object, shard_slice
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.trainer.checkpoints import TrainingState
from recbole_tinynews.trainer.losses import Losses
from recbole_tinynews.trainer.news_trainer import NewsTrainer, UntrainedTrainer
from recbole_tinynews.trainer.optimization import most_steps

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


class DistillationTrainer(NewsTrainer):
    """Adds teachers' outputs to each batch; ``ValueError`` if compared tokens differ."""

    def __init__(
        self,
        config: Settings,
        model: Any,
        teachers: Teachers | None = None,
        folder: Path | None = None,
    ) -> None:
        self._teachers = teachers  # first, since RecBole's constructor builds the optimizer
        super().__init__(config, model, folder)
        if teachers is not None and any(model.teacher_states):
            _check_tokens(model, teachers)

    @property
    def teachers(self) -> Teachers:
        """The given teachers; ``ValueError`` if there are none."""
        if self._teachers is None:
            raise ValueError(
                f"{type(self).__name__} expects teachers to train with, got none. Pass them: "
                f"{type(self).__name__}(config, model, teachers), or run the model's stages with "
                "run_recbole.py."
            )
        return self._teachers

    def fit(self, train_data: Any, valid_data: Any = None, **kwargs: Any) -> tuple:
        """Encode the articles with the teachers, then train as ``NewsTrainer`` does."""
        news, shown = train_data.news_ids(), kwargs.get("show_progress", False)
        folder = None if self.config["use_cache"] is False else train_data.dataset.cache_dir
        with self._autocast():
            self.teachers.encode_ahead(news, shown, folder)
            self.model.start_distillation([*self.teachers.members], train_data.dataset)
        return super().fit(train_data, valid_data, **kwargs)

    def prepare(self, interaction: Interaction) -> Interaction:
        """Add the teachers' outputs to the batch."""
        interaction = super().prepare(interaction)
        interaction[TEACHERS] = self.teachers.outputs(interaction, self.model.teacher_states)
        return interaction


def _check_tokens(model: Any, teachers: Teachers) -> None:
    teacher: Any
    for number, teacher in enumerate(teachers.members):
        if not all(map(np.array_equal, teacher.news_encoder.tokens, model.news_encoder.tokens)):
            raise ValueError(
                f"{type(model).__name__} expects teachers that read each article in the "
                f"student's own tokens, and teacher {number} reads others. Give both the same "
                "plm vocabulary, news_text, max_title_length, max_abstract_length and "
                "mask_padding_in_news_pooling."
            )


class EnsembleTeacherTrainer(UntrainedTrainer, DistillationTrainer):
    """Copies the teachers' weights into the ensemble and trains nothing."""

    def fit(self, train_data: Any, valid_data: Any = None, **kwargs: Any) -> tuple:
        """Copy the teachers' weights by name, then save and validate; returns score and result."""
        members, model = self.teachers.members, self.model
        encoders = model.news_encoder.encoders, model.user_encoder.encoders
        teacher: Any
        for teacher, news_encoder, user_encoder in zip(members, *encoders, strict=True):
            news_encoder.load_state_dict(teacher.news_encoder.state_dict())
            user_encoder.load_state_dict(teacher.user_encoder.state_dict())
        return super().fit(train_data, valid_data, **kwargs)


class JointTrainer(DistillationTrainer):
    """``DistillationTrainer`` that also trains the teachers; validates and saves the student."""

    @property
    def teachers(self) -> JointTeachers:
        """The given teachers."""
        return cast("JointTeachers", super().teachers)

    @property
    def learners(self) -> nn.Module:
        """Student and teachers; shared weights occur once."""
        if self._teachers is None:
            return self.model
        return nn.ModuleDict({"student": self.model, "teachers": self.teachers})

    def _train_epoch(self, *arguments: Any, **keywords: Any) -> Any:
        self.teachers.train()
        return super()._train_epoch(*arguments, **keywords)

    def _before_step(self) -> None:
        self.teachers.mix_gradients(self.model)
