"""Mixins of recommenders that read more than texts: candidates beside each user, ids of users."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import IMPRESSION_SIZE
from recbole_tinynews.model.interface import BatchContext, Encoded
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.settings.protocol import Settings


class WithUserIds(NewsRecommender):
    """Mixin whose user encoder has a third argument, user ids ``[batch]`` below ``user_count``.

    0 stands for a user unseen in training.
    """

    why_not_loaded = (
        "knows users by their ids in its data set, and its folder has no names of users"
    )

    def __init__(self, config: Settings, dataset: Any) -> None:
        # before the user encoder is made
        self.user_count: int = dataset.num(config["USER_ID_FIELD"])
        super().__init__(config, dataset)
        trained = torch.zeros(self.user_count, dtype=torch.bool)
        trained[torch.from_numpy(np.unique(dataset.inter_feat.user))] = True
        self.register_buffer("_trained_users", trained, persistent=False)

    def of_readers(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The ids of users."""
        users = interaction[self.user_field]
        return (torch.where(self.get_buffer("_trained_users")[users], users, 0),)


class CandidateAware(NewsRecommender):
    """Mixin whose ``match`` scores whole impressions too, not only training batches.

    A score is then no dot product of a user's vector and an article's. It must not depend on the
    other candidates.
    """

    def match_impressions(
        self, interaction: Interaction
    ) -> tuple[Tensor, BatchContext, Tensor, Tensor]:
        """Arguments of ``total_scores`` for whole impressions."""
        context, sizes = self._context(interaction), interaction[IMPRESSION_SIZE]
        rows = context._replace(candidates=pad_candidates(context.candidates, sizes))
        ids, width = torch.cat([rows.history, rows.candidates], dim=1), rows.history.shape[1]
        news = Encoded(self.encode_news(ids), ids != 0, width, rows)
        outputs = self.match(news)
        users, real = outputs.user.repeat_interleave(sizes, 0), is_candidate(sizes)
        candidates = outputs.news.candidates[real]
        context = self.with_reader(context, candidates, news.history, sizes)
        return outputs.scores[real], context, users, candidates


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
