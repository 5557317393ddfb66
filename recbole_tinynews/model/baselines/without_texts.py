"""Rankings without texts: random, by category, by counters of other users' clicks, by age."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import (
    CANDIDATE_FEATURES,
    CANDIDATES,
    HISTORY,
    IMPRESSION,
    IMPRESSION_SIZE,
)
from recbole_tinynews.data.negatives import random_bits
from recbole_tinynews.files.columns import CATEGORY, SUBCATEGORY
from recbole_tinynews.model.interface import ImpressionRecommender
from recbole_tinynews.model.time_features import PRIOR_EXPOSURES
from recbole_tinynews.settings.protocol import Settings


class Random(ImpressionRecommender):
    """A score in [0, 1) from (seed, row, candidate); RecBole's depends on the batch size."""

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.seed = int(config["seed"])

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        rows = interaction[IMPRESSION].repeat_interleave(interaction[IMPRESSION_SIZE])
        candidates = interaction[CANDIDATES].cpu().numpy()
        bits = random_bits(self.seed, 0, rows.cpu().numpy(), candidates)
        return torch.from_numpy(bits / 2.0**64).float().to(self.device)


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
        shares = []
        for field, weight in self.weights.items():
            of_news = self.get_buffer(field)
            wanted = of_news[interaction[CANDIDATES]].unsqueeze(1)
            matches = ((of_news[history] == wanted) & (wanted != 0)).sum(1)
            shares.append(weight * matches / clicks)
        return torch.stack(shares).sum(0)


class Newest(ImpressionRecommender):
    """Time since publication, or since the first exposure if unknown; the shortest ranks first."""

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        return -interaction[CANDIDATE_FEATURES][:, 0]


class PopularNow(ImpressionRecommender):
    """Clicks of other users in the first of ``popularity_windows`` before the impression."""

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        return interaction[CANDIDATE_FEATURES][:, 1]


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
