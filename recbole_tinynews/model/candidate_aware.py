"""Recommenders whose user is another one for each candidate."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import IMPRESSION_SIZE
from recbole_tinynews.model.interface import Encoded
from recbole_tinynews.model.recommender import NewsRecommender


class CandidateAware(NewsRecommender):
    """Mixin whose ``match`` scores whole impressions too, not only training batches.

    A score is then no dot product of a user's vector and an article's. It must not depend on the
    other candidates.
    """

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        context, sizes = self._context(interaction), interaction[IMPRESSION_SIZE]
        rows = context._replace(candidates=pad_candidates(context.candidates, sizes))
        ids, width = torch.cat([rows.history, rows.candidates], dim=1), rows.history.shape[1]
        outputs = self.match(Encoded(self.encode_news(ids), ids != 0, width, rows))
        users, real = outputs.user.repeat_interleave(sizes, 0), is_candidate(sizes)
        candidates = outputs.news.candidates[real]
        return self.total_scores(outputs.scores[real], context, users, candidates)


def pad_candidates(candidates: Tensor, sizes: Tensor) -> Tensor:
    """Candidates of each impression in a row, padded at the end with 0.

    >>> pad_candidates(torch.tensor([4, 5, 6]), torch.tensor([1, 2])).tolist()
    [[4, 0], [5, 6]]
    """
    real = is_candidate(sizes)
    return torch.zeros_like(real, dtype=candidates.dtype).masked_scatter(real, candidates)


def is_candidate(sizes: Tensor) -> Tensor:
    """Mask of the candidates in padded rows, ``[impressions, largest size]``."""
    return torch.arange(int(sizes.max()), device=sizes.device) < sizes[:, None]
