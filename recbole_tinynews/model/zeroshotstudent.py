"""A small student of the untrained language model, which reads texts and no click."""

from __future__ import annotations

from typing import Any, ClassVar

from recbole_tinynews.data.training_news import TrainingNews
from recbole_tinynews.model.alignednewsrec import NewsAligner
from recbole_tinynews.model.baselines.zeroshotplm import ZeroShotPLM
from recbole_tinynews.settings.protocol import Settings


class ZeroShotTeacher(ZeroShotPLM):
    """The untrained language model, without clicks."""

    reads: ClassVar[Any] = TrainingNews


class ZeroShotStudent(NewsAligner):
    """``AlignedNewsRec``'s alignment alone, without clicks; a user is the mean of the clicks."""

    teacher_stage = "zero_shot_teacher"

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.user_encoder.requires_grad_(False)

    @classmethod
    def news_dim(cls, config: Settings) -> int:
        """As the teacher's, the width of the language model."""
        return ZeroShotPLM.news_dim(config)
