"""MINER: several interests of a user, each matched with each candidate.

Li et al., "MINER: Multi-Interest Matching Network for News Recommendation", Findings of ACL 2022.
"""

from __future__ import annotations

from typing import Any

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.distillation.outputs import Encoded, Outputs
from recbole_tinynews.encoder.users.multi_interest import (
    CategorySimilarity,
    MultiInterestUser,
    disagreement,
)
from recbole_tinynews.files.columns import CATEGORY
from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.model.text_encoders import starts_pretrained
from recbole_tinynews.settings.protocol import Settings


class MINER(PLMNR):
    """Poly attention with category-aware weights, and interests that have to disagree.

    ``MultiInterestUser`` has the equations; the loss of section 3.5 is
    ``L = L_rec + beta L_D`` with ``disagreement`` for ``L_D``, a mean over candidates.
    """

    two_towers = False
    ranks_given_articles = False
    user_encoder: MultiInterestUser

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.disagreement_loss_weight = config["disagreement_loss_weight"]
        self.similarity = CategorySimilarity(dataset.num(CATEGORY), config["category_dim"])
        self.register_buffer(CATEGORY, dataset.item_feat[CATEGORY], persistent=False)

    def make_user_encoder(self, config: Settings) -> MultiInterestUser:
        """Poly attention over the clicks."""
        return MultiInterestUser(
            self.news_dim(config),
            config["context_codes"],
            config["code_dim"],
            starts_pretrained(config),
        )

    @property
    def parameter_count(self) -> int:
        """Those of news and user encoder, and of categories."""
        return super().parameter_count + sum(p.numel() for p in self.similarity.parameters())

    def match(self, news: Encoded) -> Outputs:
        """The interests of users for each candidate, and its score from all of them."""
        assert news.ids is not None
        category, users = self.get_buffer(CATEGORY), self.user_encoder
        similarity = self.similarity(category[news.ids.candidates], category[news.ids.history])
        interests = users.interests(news.history, news.clicked, similarity)
        return Outputs(
            users.scores(interests, news.history, news.clicked, news.candidates),
            news.candidates,
            news.history,
            interests.user,
            news.states,
            interests.of_candidates,
        )

    def further_losses(self, outputs: Outputs, interaction: Interaction) -> dict[str, Tensor]:
        """The disagreement of interests, ``beta L_D``."""
        assert outputs.interests is not None
        loss = self.disagreement_loss_weight * disagreement(outputs.interests).mean()
        return {**super().further_losses(outputs, interaction), "disagreement": loss}
