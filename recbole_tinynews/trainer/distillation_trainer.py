"""Training a student whose batches are labelled by frozen teachers."""

from __future__ import annotations

from typing import Any

from recbole.data.interaction import Interaction

from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.distillation.frozen_teachers import TeacherEnsemble
from recbole_tinynews.trainer.news_trainer import NewsTrainer


class DistillationTrainer(NewsTrainer):
    """``NewsTrainer`` whose teachers label each batch before the student sees it.

    ``teachers`` is set after construction, since RecBole makes trainers from (config, model) alone.
    """

    teachers: TeacherEnsemble | None = None

    def fit(self, train_data: Any, valid_data: Any = None, **kwargs: Any) -> tuple:
        """As NewsTrainer's; the teachers encode first what they will be asked for."""
        if self.teachers is not None:
            with self._autocast():
                self.teachers.encode_ahead(
                    train_data.news_ids(),
                    kwargs.get("show_progress", False),
                    None if self.config["use_cache"] is False else train_data.dataset.cache_dir,
                )
        return super().fit(train_data, valid_data, **kwargs)

    def prepare(self, interaction: Interaction) -> Interaction:
        """The batch, labelled."""
        return self.label(super().prepare(interaction))

    def label(self, interaction: Interaction) -> Interaction:
        """The batch with the teachers' scores and vectors as further fields."""
        if self.teachers is None:
            raise ValueError(
                f"{type(self).__name__} expects its teachers before training, got none. Set "
                "trainer.teachers, or run the model's stages with run_recbole.py."
            )
        labels = self.teachers.label(interaction[HISTORY], interaction[CANDIDATES])
        for name, value in labels._asdict().items():
            interaction[f"teacher_{name}"] = value
        return interaction
