"""Trainer of an ensemble: copies and validates the teachers without training."""

from __future__ import annotations

from typing import Any

from recbole_tinynews.trainer.distillation_trainer import DistillationTrainer
from recbole_tinynews.trainer.untrained import UntrainedTrainer


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
