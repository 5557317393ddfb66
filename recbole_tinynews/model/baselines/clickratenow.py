"""Click rate now: clicks per exposure in the last hours."""

from __future__ import annotations

from typing import Any

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATE_FEATURES
from recbole_tinynews.model.impression_recommender import ImpressionRecommender
from recbole_tinynews.model.time_features import PRIOR_EXPOSURES
from recbole_tinynews.settings.protocol import Settings


class ClickRateNow(ImpressionRecommender):
    """Others' clicks per exposure in the first of ``popularity_windows``, smoothed."""

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.windows = len(config["popularity_windows"])
        self.prior = PRIOR_EXPOSURES * float((dataset.inter_feat.labels == 1).mean())

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        counters = interaction[CANDIDATE_FEATURES]
        clicks, exposures = counters[:, 1], counters[:, 1 + self.windows]
        return (clicks + self.prior) / (exposures + PRIOR_EXPOSURES)
