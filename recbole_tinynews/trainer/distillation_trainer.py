"""Trainers of students: with frozen teachers, with jointly trained ones, and of an ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from recbole.data.interaction import Interaction
from torch import nn

from recbole_tinynews.data.fields import TEACHERS
from recbole_tinynews.distillation.teachers import Teachers
from recbole_tinynews.model.stages.joint_teachers import JointTeachers
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.trainer.news_trainer import NewsTrainer
from recbole_tinynews.trainer.untrained import UntrainedTrainer


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
