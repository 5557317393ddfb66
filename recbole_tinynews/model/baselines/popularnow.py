"""Most popular now: clicks in the last hours, a common ranking of news sites."""

from __future__ import annotations

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATE_FEATURES
from recbole_tinynews.model.impression_recommender import ImpressionRecommender


class PopularNow(ImpressionRecommender):
    """Clicks of other users in the first of ``popularity_windows`` before the impression."""

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        return interaction[CANDIDATE_FEATURES][:, 1]
