"""Newest first, without clicks."""

from __future__ import annotations

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATE_FEATURES
from recbole_tinynews.model.impression_recommender import ImpressionRecommender


class Newest(ImpressionRecommender):
    """Time since publication, or since the first exposure if unknown; the shortest ranks first."""

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        return -interaction[CANDIDATE_FEATURES][:, 0]
