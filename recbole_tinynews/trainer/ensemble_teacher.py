"""An ensemble that is its teachers as they are: they are put together and validated."""

from __future__ import annotations

from typing import Any

from recbole_tinynews.distillation.frozen_teachers import TeacherEnsemble
from recbole_tinynews.trainer.news_trainer import NewsTrainer


class EnsembleTeacherTrainer(NewsTrainer):
    """``NewsTrainer`` that trains nothing.

    ``teachers`` is set after construction, since RecBole makes trainers from (config, model) alone.
    """

    teachers: TeacherEnsemble | None = None

    def _build_optimizer(self, **kwargs: Any) -> Any:
        """None, for want of anything that trains."""

    def fit(self, train_data: Any, valid_data: Any = None, **kwargs: Any) -> tuple:
        """Take over the teachers' weights, all of them by name, keep and validate them.

        Returns:
            The validation score and the result it stands in.
        """
        if self.teachers is None:
            raise ValueError(
                "EnsembleTeacherTrainer expects the teachers before fit, got none. Set "
                "trainer.teachers, or run the model's stages with run_recbole.py."
            )
        self.model.news_encoder.encoders.load_state_dict(self.teachers.news_encoders.state_dict())
        self.model.user_encoder.encoders.load_state_dict(self.teachers.user_encoders.state_dict())
        self._save_checkpoint(0)
        if not valid_data:
            return self.best_valid_score, None
        return self._valid_epoch(valid_data, kwargs.get("show_progress", False))
