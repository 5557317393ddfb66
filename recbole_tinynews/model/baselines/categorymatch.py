"""Category matching: how often the user clicked news of the candidate's categories."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATES, HISTORY, IMPRESSION_SIZE
from recbole_tinynews.files.columns import CATEGORY, SUBCATEGORY
from recbole_tinynews.model.impression_recommender import ImpressionRecommender
from recbole_tinynews.settings.protocol import Settings


class CategoryMatch(ImpressionRecommender):
    """Weighted shares of clicks in the candidate's category and subcategory; unknown: no match."""

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.weights = {
            CATEGORY: config["category_weight"],
            SUBCATEGORY: config["subcategory_weight"],
        }
        for field in self.weights:  # [news], 0 where it is unknown
            self.register_buffer(field, dataset.item_feat[field], persistent=False)

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        sizes = interaction[IMPRESSION_SIZE]
        history = interaction[HISTORY].repeat_interleave(sizes, 0)  # [candidates, history]
        clicks = (history != 0).sum(1).clamp(min=1)
        shares = [
            weight * self._matches(field, history, interaction[CANDIDATES]) / clicks
            for field, weight in self.weights.items()
        ]
        return torch.stack(shares).sum(0)

    def _matches(self, field: str, history: Tensor, candidates: Tensor) -> Tensor:
        of_news = self.get_buffer(field)
        wanted = of_news[candidates].unsqueeze(1)
        return ((of_news[history] == wanted) & (wanted != 0)).sum(1)
