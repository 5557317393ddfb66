"""MINER (Li et al., Findings of ACL 2022): several interests per user for each candidate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.distillation.outputs import Encoded, Outputs
from recbole_tinynews.files.columns import CATEGORY
from recbole_tinynews.model.candidate_aware import CandidateAware
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.text_encoders import starts_pretrained
from recbole_tinynews.settings.protocol import Settings
from recbole_tinynews.zoo.miner_parts import CategorySimilarity, MultiInterestUser, disagreement


class MINER(CandidateAware, PLMNR):
    """Category-aware poly attention; the loss adds the ``disagreement`` of interests (3.5)."""

    least: ClassVar[Mapping[str, float]] = {
        "context_codes": 1,
        "code_dim": 1,
        "disagreement_loss_weight": 0,
    }
    user_encoder: MultiInterestUser

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.disagreement_loss_weight = config["disagreement_loss_weight"]
        self.similarity = CategorySimilarity(dataset.num(CATEGORY), config["category_dim"])
        self.register_buffer(CATEGORY, dataset.item_feat[CATEGORY], persistent=False)

    @classmethod
    def why_not_loaded(cls) -> str:
        """It needs the categories of clicks and candidates."""
        return "looks up the categories of clicks and candidates by their ids in its data set"

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
            further=interests.of_candidates,
        )

    def further_losses(self, outputs: Outputs, interaction: Interaction) -> dict[str, Tensor]:
        """``beta L_D``, the disagreement of interests."""
        assert outputs.further is not None
        loss = self.disagreement_loss_weight * disagreement(outputs.further).mean()
        return {**super().further_losses(outputs, interaction), "disagreement": loss}
