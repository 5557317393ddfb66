"""Training a student together with its teachers."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from recbole_tinynews.model.joint_teachers import JointTeachers
from recbole_tinynews.trainer.distillation_trainer import DistillationTrainer


class JointTrainer(DistillationTrainer):
    """``DistillationTrainer`` whose optimizer and saved states hold the teachers too.

    Validation, early stopping and the saved weights are the student's alone.
    """

    @property
    def teachers(self) -> JointTeachers:
        """The teachers that it was given."""
        return cast("JointTeachers", super().teachers)

    @property
    def learners(self) -> nn.Module:
        """Student and teachers; weights that they share are in it once."""
        if self._teachers is None:
            return self.model
        return nn.ModuleDict({"student": self.model, "teachers": self.teachers})

    def _train_epoch(self, *arguments: Any, **keywords: Any) -> Any:
        self.teachers.train()
        return super()._train_epoch(*arguments, **keywords)

    def _before_step(self) -> None:
        self.teachers.lend_momentum(self.model)
