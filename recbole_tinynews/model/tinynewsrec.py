"""Tiny-NewsRec: a small news recommender that learns from several large ones, in two stages.

Yu et al., "Tiny-NewsRec: Effective and Efficient PLM-based News Recommendation", EMNLP 2022.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.distillation.tinynewsrec import Lesson
from recbole_tinynews.model.recommender import NewsRecommender, Scored
from recbole_tinynews.model.student import make_distillation, teacher_labels


class TinyNewsRec(NewsRecommender):
    """The student in Stage II: ``L_2 = L_FT_distill + L_FT_emb + L_FT`` under M finetuned teachers.

    Its teachers' scores and vectors arrive with the batch as labels; the student holds projections
    for them, and no teacher. ``stages.py`` has the stages that make its teachers and its start.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.mask_padding_in_embedding_loss = config["mask_padding_in_embedding_loss"]
        teacher = config.for_stage("finetune_teacher")
        self.distillation = make_distillation(config, teacher["news_dim"])

    def losses(self, scored: Scored, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted summands by name, each the mean over the batch."""
        student, teachers = scored, teacher_labels(interaction)
        real = torch.cat([interaction[HISTORY], interaction[CANDIDATES]], dim=1) != 0
        return self.distillation(
            Lesson(
                student.scores, torch.cat([student.history, student.candidates], 1), student.user
            ),
            Lesson(
                teachers.scores,
                torch.cat([teachers.history, teachers.candidates], 2),
                teachers.user,
            ),
            interaction[self.label_field],
            real if self.mask_padding_in_embedding_loss else None,
        )
