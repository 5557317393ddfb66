"""TANR (Wu et al., ACL 2019): a news encoder that also predicts each article's topic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.files.columns import CATEGORY
from recbole_tinynews.model.interface import Outputs
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.settings.protocol import Settings


class TANR(PLMNR):
    """Attention over words and over clicks, and topic classification as an auxiliary task.

    Words and clicks (sections 2.1 and 2.2) as in NAML, of titles alone. Section 2.4::

        t = softmax(W_t r + b_t)      L_topic = -mean log t[category]
        L = L_rec + lambda L_topic

    The mean is over articles of histories and candidates with a known category.
    """

    least: ClassVar[Mapping[str, float]] = {"topic_loss_weight": 0}
    loss_units: Mapping[str, str] = {"topic": "articles"}

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.topic_loss_weight = config["topic_loss_weight"]
        self.topic = nn.Linear(self.news_dim(config), len(self.categories[CATEGORY]))

    def read_articles(self, config: Settings, dataset: Any) -> None:
        """Read the articles' categories too."""
        super().read_articles(config, dataset)
        self.register_buffer(CATEGORY, dataset.item_feat[CATEGORY], persistent=False)

    def further_losses(self, outputs: Outputs, interaction: Interaction) -> dict[str, Tensor]:
        """``lambda L_topic``."""
        ids = torch.cat([interaction[HISTORY], interaction[CANDIDATES]], dim=1)
        category = self.get_buffer(CATEGORY)[ids]  # [batch, articles], 0 where it is unknown
        losses = F.cross_entropy(
            self.topic(outputs.news.all).flatten(0, 1),
            category.flatten(),
            ignore_index=0,
            reduction="sum",
        )
        mean = losses / (category != 0).sum().clamp(min=1)
        return {
            **super().further_losses(outputs, interaction),
            "topic": self.topic_loss_weight * mean,
        }
