"""Random ranking, the baseline of every metric."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATES, IMPRESSION, IMPRESSION_SIZE
from recbole_tinynews.data.negatives import random_bits
from recbole_tinynews.model.impression_recommender import ImpressionRecommender
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
