"""MINER's user encoder: several interests, matched with each candidate."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tinynews.encoder.pooling import masked_softmax, mean_pooling
from recbole_tinynews.encoder.pretrained_heads import SCORE_SCALE
from recbole_tinynews.encoder.users.no_clicks import NoClicks


class PolyAttention(nn.Module):
    """Several attention poolings side by side, one for each context code.

    Li et al., "MINER: Multi-Interest Matching Network for News Recommendation", Findings of ACL
    2022, sections 3.2 (poly attention) and 3.4 (category-aware weighting)::

        alpha^k_j = softmax_j(c_k . tanh(W h_j) + lambda cos(category of candidate, category of j))
        e_k = sum_j alpha^k_j h_j

    Args:
        dim: size of an input.
        codes: number of context codes.
        code_dim: size of a context code.
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

        Shapes:
            inputs: ``[batch, length, dim]``.
            mask: ``[batch, length]``, True where an input takes part.
            similarity: ``[batch, candidates, length]``, added to the energy of every code.
            energy: ``energy(inputs)``, if it is known; ``None``: it is computed.
        """
        energy = self.energy(inputs) if energy is None else energy
        weights = masked_softmax(
            energy.unsqueeze(1) + similarity.unsqueeze(2), mask[:, None, None, :]
        )
        return torch.einsum("bckl,bld->bckd", weights.to(inputs.dtype), inputs)


class InterestMatching(nn.Module):
    """One score of several interests, weighted by how much each concerns the candidate.

    Li et al. 2022, section 3.3, "weighted"::

        w_k = softmax_k(e_k . gelu(W r_c))      score = sum_k w_k (e_k . r_c)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.target = nn.Linear(dim, dim)

    def forward(self, interests: Tensor, candidates: Tensor) -> Tensor:
        """Scores, ``[batch, candidates]``.

        Shapes:
            interests: ``[batch, candidates, interests, dim]``.
            candidates: ``[batch, candidates, dim]``.
        """
        target = F.gelu(self.target(candidates))
        weights = (interests @ target.unsqueeze(-1)).squeeze(-1).softmax(dim=-1)
        matches = (interests @ candidates.unsqueeze(-1)).squeeze(-1)
        return (weights * matches).sum(-1)


class CategorySimilarity(nn.Module):
    """``lambda cos(category of a candidate, category of a click)``; 0 where one is unknown.

    Li et al. 2022, section 3.4. Vectors of categories start at random (the paper: as GloVe's), and
    ``lambda`` trains from 1.

    Args:
        categories: number of category ids, that of unknown ones included.
        dim: size of the vector of a category.
    """

    def __init__(self, categories: int, dim: int) -> None:
        super().__init__()
        self.categories = nn.Embedding(categories, dim, padding_idx=0)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, candidates: Tensor, history: Tensor) -> Tensor:
        """``[batch, candidates, history]``.

        Shapes:
            candidates, history: ``[batch, candidates]`` and ``[batch, history]``, category ids.
        """
        of_candidates = F.normalize(self.categories(candidates), dim=-1)
        of_history = F.normalize(self.categories(history), dim=-1)
        return self.weight * of_candidates @ of_history.transpose(1, 2)


class Interests(NamedTuple):
    """Interests of users.

    Shapes:
        of_candidates: ``[batch, candidates, codes, news_dim]``, for each candidate.
        user: ``[batch, news_dim]``, the mean of a user's interests for no candidate.
    """

    of_candidates: Tensor
    user: Tensor


class MultiInterestUser(nn.Module):
    """Interests of a user for each candidate, and the candidate's score (Li et al. 2022).

    For a user without clicks every interest is one learned vector.

    Args:
        news_dim: size of a news vector.
        codes: number of interests.
        code_dim: size of a context code.
        starts_as_mean: whether a score starts as that of the mean of the clicks
            (``StartsAsMean``); that of the interests is added with a weight that trains from 0.
    """

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
        """The mean of a user's interests for no candidate, ``[batch, news_dim]``.

        Shapes:
            history: ``[batch, history, news_dim]``, vectors of the clicked news.
            clicked: ``[batch, history]``, True where the slot holds a click.
        """
        history, clicked = self.no_clicks.before(history, clicked)
        return self._mean(history, clicked, self.poly_attention.energy(history))

    def interests(self, history: Tensor, clicked: Tensor, similarity: Tensor) -> Interests:
        """The interests of users for each candidate, and their mean for none.

        Shapes:
            history, clicked: as in ``forward``.
            similarity: ``[batch, candidates, history]``, that of their categories.
        """
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
        """A score for each candidate, ``[batch, candidates]``; ``forward`` has the shapes."""
        own = self.matching(interests.of_candidates, candidates)
        if self.scale is None:
            return own
        mean = mean_pooling(history, clicked).unsqueeze(-1)
        return self.scale * ((candidates @ mean).squeeze(-1) + self.own_weight * own)

    def _mean(self, history: Tensor, clicked: Tensor, energy: Tensor) -> Tensor:
        any_candidate = history.new_zeros(len(history), 1, history.shape[1])
        return self.poly_attention(history, clicked, any_candidate, energy).mean(dim=(1, 2))


def disagreement(interests: Tensor) -> Tensor:
    """Similarity of a user's interests: ``1/K^2 sum_i sum_j cos(e_i, e_j)``, ``[...]``, in 0..1.

    Li et al. 2022, section 3.2. ``interests`` is ``[..., interests, dim]``.
    """
    return F.normalize(interests, dim=-1).mean(dim=-2).square().sum(dim=-1)
