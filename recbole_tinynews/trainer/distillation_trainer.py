"""Training a student whose batches are labelled by frozen teachers."""

from __future__ import annotations

from typing import Any

from recbole.data.interaction import Interaction

from recbole_tinynews.data.dataloader import CANDIDATES, HISTORY
from recbole_tinynews.distillation.teacher_ensemble import TeacherEnsemble
from recbole_tinynews.trainer.news_trainer import LossFunction, NewsTrainer


class DistillationTrainer(NewsTrainer):
    """``NewsTrainer`` whose teachers label each batch before the student sees it.

    ``teachers`` is set after construction, since RecBole makes trainers from (config, model) alone.
    """

    teachers: TeacherEnsemble | None = None

    def _train_epoch(
        self,
        train_data: Any,
        epoch_idx: int,
        loss_func: LossFunction | None = None,
        show_progress: bool = False,
    ) -> float | tuple[float, ...]:
        if self.teachers is None:
            raise ValueError(
                f"{type(self).__name__} expects its teachers before training, got none. Set "
                "trainer.teachers, or run the model's stages with run_recbole.py."
            )
        learn = loss_func or self.model.calculate_loss
        return super()._train_epoch(
            train_data, epoch_idx, lambda batch: learn(self.label(batch)), show_progress
        )

    def label(self, interaction: Interaction) -> Interaction:
        """The batch with the teachers' scores and vectors as further fields."""
        assert self.teachers is not None
        labels = self.teachers.label(interaction[HISTORY], interaction[CANDIDATES])
        for name, value in labels._asdict().items():
            interaction[f"teacher_{name}"] = value
        return interaction
