"""Recommenders whose user is another one for each candidate."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import IMPRESSION_SIZE
from recbole_tinynews.distillation.outputs import Encoded
from recbole_tinynews.model.recommender import NewsRecommender


class CandidateAware(NewsRecommender):
    """Mixin whose ``match`` scores whole impressions too, not only training batches.

    A score is then no dot product of a user's vector and an article's. It must not depend on the
    other candidates.
    """

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        about, sizes = self._about(interaction), interaction[IMPRESSION_SIZE]
        history, clicked = self.encode_news(about.history), about.history != 0
        rows = about._replace(candidates=pad_candidates(about.candidates, sizes))
        news = Encoded(self.encode_news(rows.candidates), history, clicked, ids=rows)
        outputs, real = self.match(news), is_candidate(sizes)
        users = outputs.user.repeat_interleave(sizes, 0)
        return self.total_scores(outputs.scores[real], about, users, outputs.candidates[real])


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
