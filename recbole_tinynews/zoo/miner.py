"""MINER (Li et al., Findings of ACL 2022): several interests per user for each candidate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.encoder.pooling import masked_softmax, mean_pooling
from recbole_tinynews.encoder.users import SCORE_SCALE, NoClicks
from recbole_tinynews.files.columns import CATEGORY
from recbole_tinynews.model.article_reader import starts_pretrained
from recbole_tinynews.model.interface import Encoded, Outputs
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.reader_mixins import CandidateAware
from recbole_tinynews.settings.protocol import Settings


class MINER(CandidateAware, PLMNR):
    """Category-aware poly attention; the loss adds the ``disagreement`` of interests (3.5)."""

    why_not_loaded = "looks up the categories of clicks and candidates by their ids in its data set"
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
        assert news.context is not None
        category, users = self.get_buffer(CATEGORY), self.user_encoder
        similarity = self.similarity(
            category[news.context.candidates], category[news.context.history]
        )
        interests = users.interests(news.history, news.clicked, similarity)
        scores = users.scores(interests, news.history, news.clicked, news.candidates)
        return Outputs(scores, interests.user, news, further=interests.of_candidates)

    def further_losses(self, outputs: Outputs, interaction: Interaction) -> dict[str, Tensor]:
        """``beta L_D``, the disagreement of interests."""
        assert outputs.further is not None
        loss = self.disagreement_loss_weight * disagreement(outputs.further).mean()
        return {**super().further_losses(outputs, interaction), "disagreement": loss}


class PolyAttention(nn.Module):
    """Several attention poolings, one for each context code.

    Sections 3.2 and 3.4::

        alpha^k_j = softmax_j(c_k . tanh(W h_j) + lambda cos(category of candidate, category of j))
        e_k = sum_j alpha^k_j h_j
    """

    def __init__(self, dim: int, codes: int, code_dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, code_dim, bias=False)
        self.codes = nn.Linear(code_dim, codes, bias=False)

    def energy(self, inputs: Tensor) -> Tensor:
        """``c_k . tanh(W h_j)``, ``[batch, length, dim]`` -> ``[batch, codes, length]``."""
        return self.codes(self.projection(inputs).tanh()).transpose(1, 2)

    def forward(
        self, inputs: Tensor, mask: Tensor, similarity: Tensor, energy: Tensor | None = None
    ) -> Tensor:
        """One vector for each code and candidate, ``[batch, candidates, codes, dim]``.

        ``inputs`` are ``[batch, length, dim]``, ``mask`` ``[batch, length]``; ``similarity``, of
        ``[batch, candidates, length]``, is added to the energy of every code.
        """
        energy = self.energy(inputs) if energy is None else energy
        weights = masked_softmax(
            energy.unsqueeze(1) + similarity.unsqueeze(2), mask[:, None, None, :]
        )
        return torch.einsum("bckl,bld->bckd", weights.to(inputs.dtype), inputs)


class InterestMatching(nn.Module):
    """One score from several interests, weighted by their relevance to the candidate.

    Section 3.3, "weighted"::

        w_k = softmax_k(e_k . gelu(W r_c))      score = sum_k w_k (e_k . r_c)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.target = nn.Linear(dim, dim)

    def forward(self, interests: Tensor, candidates: Tensor) -> Tensor:
        """Scores ``[batch, candidates]``; interests are ``[batch, candidates, interests, dim]``."""
        target = F.gelu(self.target(candidates))
        weights = (interests @ target.unsqueeze(-1)).squeeze(-1).softmax(dim=-1)
        matches = (interests @ candidates.unsqueeze(-1)).squeeze(-1)
        return (weights * matches).sum(-1)


class CategorySimilarity(nn.Module):
    """``lambda cos(category of a candidate, of a click)``, 0 if unknown (section 3.4)."""

    def __init__(self, categories: int, dim: int) -> None:
        super().__init__()
        self.categories = nn.Embedding(categories, dim, padding_idx=0)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, candidates: Tensor, history: Tensor) -> Tensor:
        """Category ids of candidates and history -> ``[batch, candidates, history]``."""
        of_candidates = F.normalize(self.categories(candidates), dim=-1)
        of_history = F.normalize(self.categories(history), dim=-1)
        return self.weight * of_candidates @ of_history.transpose(1, 2)


class Interests(NamedTuple):
    """Interests of users."""

    of_candidates: Tensor  # [batch, candidates, codes, news_dim]
    user: Tensor  # [batch, news_dim], mean of a user's interests regardless of candidates


class MultiInterestUser(nn.Module):
    """Interests of a user for each candidate; the score may start as that of the mean click."""

    def __init__(
        self, news_dim: int, codes: int, code_dim: int, starts_as_mean: bool = False
    ) -> None:
        super().__init__()
        self.poly_attention = PolyAttention(news_dim, codes, code_dim)
        self.matching = InterestMatching(news_dim)
        self.no_clicks = NoClicks(news_dim)
        self.scale, self.own_weight = None, None
        if starts_as_mean:
            self.scale = nn.Parameter(torch.tensor(SCORE_SCALE))
            self.own_weight = nn.Parameter(torch.tensor(0.0))

    def forward(self, history: Tensor, clicked: Tensor) -> Tensor:
        """Mean of a user's interests regardless of candidates, ``[batch, news_dim]``."""
        history, clicked = self.no_clicks.before(history, clicked)
        return self._mean(history, clicked, self.poly_attention.energy(history))

    def interests(self, history: Tensor, clicked: Tensor, similarity: Tensor) -> Interests:
        """Interests for each candidate; ``similarity`` is that of ``CategorySimilarity``."""
        history, clicked = self.no_clicks.before(history, clicked)
        energy = self.poly_attention.energy(history)
        similarity = F.pad(similarity, (1, 0))
        return Interests(
            self.poly_attention(history, clicked, similarity, energy),
            self._mean(history, clicked, energy),
        )

    def scores(
        self, interests: Interests, history: Tensor, clicked: Tensor, candidates: Tensor
    ) -> Tensor:
        """Scores of candidates ``[batch, candidates, news_dim]``, ``[batch, candidates]``."""
        own = self.matching(interests.of_candidates, candidates)
        if self.scale is None:
            return own
        mean = mean_pooling(history, clicked).unsqueeze(-1)
        return self.scale * ((candidates @ mean).squeeze(-1) + self.own_weight * own)

    def _mean(self, history: Tensor, clicked: Tensor, energy: Tensor) -> Tensor:
        any_candidate = history.new_zeros(len(history), 1, history.shape[1])
        return self.poly_attention(history, clicked, any_candidate, energy).mean(dim=(1, 2))


def disagreement(interests: Tensor) -> Tensor:
    """Mean similarity of interests ``[..., K, dim]``: ``1/K^2 sum_i sum_j cos(e_i, e_j)``."""
    return F.normalize(interests, dim=-1).mean(dim=-2).square().sum(dim=-1)
