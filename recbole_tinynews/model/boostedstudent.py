"""Gradient boosting on the scores and vectors of a trained student: what winners of contests do."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.model.baselines.timeboosted import TimeBoosted
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.settings.protocol import Settings


class BoostedStudent(TimeBoosted):
    """``TimeBoosted`` with the text score of a student among its features.

    Its vectors are those of an ``AlignedNewsRec``, trained before (stage ``train_student``), in
    place of untrained ones.
    """

    trainer_class = "UntrainedNewsTrainer"
    text_features = 1  # the text score
    news_dim = NewsRecommender.news_dim  # the student's

    def start_heads(self, config: Settings, dataset: Any) -> None:
        """Grow the trees; the student is trained."""
        self.fit_impressions(config, dataset)

    def encode_news(self, news_ids: Tensor) -> Tensor:
        """Vectors of length 1, or 0 for padding."""
        return F.normalize(super().encode_news(news_ids), dim=-1)
