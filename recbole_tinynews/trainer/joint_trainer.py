"""Trains a student jointly with its teachers."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from recbole_tinynews.model.joint_teachers import JointTeachers
from recbole_tinynews.trainer.distillation_trainer import DistillationTrainer


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
        self.teachers.lend_momentum(self.model)
