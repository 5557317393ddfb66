"""MINER (Li et al., Findings of ACL 2022): several interests per user for each candidate."""

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
    """Category-aware poly attention; the loss adds the ``disagreement`` of interests (3.5)."""

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
        """Parameters of news encoder, user encoder and categories."""
        return super().parameter_count + sum(p.numel() for p in self.similarity.parameters())

    def match(self, news: Encoded) -> Outputs:
        """The user's interests for each candidate, and the score from all of them."""
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
        """``beta L_D``, the disagreement of interests."""
        assert outputs.interests is not None
        loss = self.disagreement_loss_weight * disagreement(outputs.interests).mean()
        return {**super().further_losses(outputs, interaction), "disagreement": loss}
