"""Training a student together with its teachers."""

from __future__ import annotations

from typing import Any

from recbole.data.interaction import Interaction
from torch import nn

from recbole_tinynews.distillation.newsbert import TEACHERS
from recbole_tinynews.trainer.news_trainer import NewsTrainer


class JointTrainer(NewsTrainer):
    """``NewsTrainer`` whose optimizer and saved states hold the teachers beside the student.

    Validation, early stopping and the saved weights are the student's alone. ``teachers`` is set
    after construction, since RecBole makes trainers from (config, model) alone.
    """

    _teachers: Any = None

    @property
    def teachers(self) -> Any:
        """The ``JointTeachers``, or None as long as there are none."""
        return self._teachers

    @teachers.setter
    def teachers(self, teachers: Any) -> None:
        self._teachers = teachers
        self.optimizer = self._build_optimizer()

    @property
    def learners(self) -> nn.Module:
        """Student and teachers; what they share is in it once."""
        if self.teachers is None:
            return self.model
        return nn.ModuleDict({"student": self.model, "teachers": self.teachers})

    def _train_epoch(self, *arguments: Any, **keywords: Any) -> Any:
        if self.teachers is None:
            raise ValueError(
                f"{type(self).__name__} expects its teachers before training, got none. Set "
                "trainer.teachers, or run the model's stages with run_recbole.py."
            )
        self.teachers.train()
        return super()._train_epoch(*arguments, **keywords)

    def prepare(self, interaction: Interaction) -> Interaction:
        """The batch with what the teachers make of it, gradients included."""
        interaction = super().prepare(interaction)
        interaction[TEACHERS] = self.teachers.observe(interaction)
        return interaction

    def _before_step(self) -> None:
        self.teachers.lend_momentum(self.model)
