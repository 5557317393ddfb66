"""Training a student that compares its inner states with its teachers'."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.trainer.distillation_trainer import DistillationTrainer


class InnerStateTrainer(DistillationTrainer):
    """``DistillationTrainer`` whose teachers hand over inner states of the batch's news too.

    They are an attribute of the batch and no field of it: their rows are tokens, not samples.
    """

    def fit(self, train_data: Any, valid_data: Any = None, **kwargs: Any) -> tuple:
        """As DistillationTrainer's; teachers that read other tokens are refused first.

        Raises:
            ValueError: a teacher's table of tokens is not the student's.
        """
        own = self.model.news_encoder.tokens
        teacher: Any
        for number, teacher in enumerate(self.teachers.news_encoders if self.teachers else ()):
            if not all(map(np.array_equal, teacher.tokens, own)):
                raise ValueError(
                    f"{type(self.model).__name__} expects teachers that read each news in the "
                    f"student's own tokens, and teacher {number} reads others. Give both the same "
                    "plm vocabulary, max_title_length and mask_padding_in_news_pooling."
                )
        return super().fit(train_data, valid_data, **kwargs)

    def label(self, interaction: Interaction) -> Interaction:
        """The batch with the teachers' scores, vectors and inner states."""
        interaction = super().label(interaction)
        taps = self.model.teacher_taps
        if self.teachers is not None and any(taps):
            news = torch.cat([interaction[HISTORY], interaction[CANDIDATES]], dim=1)
            interaction.teacher_states = self.teachers.states(news, taps)
        return interaction
