"""Recommenders that know their users by ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.settings.protocol import Settings


class WithUserIds(NewsRecommender):
    """Mixin whose user encoder has a third argument, user ids ``[batch]`` below ``user_count``.

    0 stands for a user unseen in training.
    """

    def __init__(self, config: Settings, dataset: Any) -> None:
        # before the user encoder is made
        self.user_count: int = dataset.num(config["USER_ID_FIELD"])
        super().__init__(config, dataset)
        trained = torch.zeros(self.user_count, dtype=torch.bool)
        trained[torch.from_numpy(np.unique(dataset.inter_feat.user))] = True
        self.register_buffer("_trained_users", trained, persistent=False)

    @classmethod
    def why_not_loaded(cls) -> str:
        """A folder has no names of users."""
        return "knows users by their ids in its data set, and its folder has no names of users"

    def of_readers(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The ids of users."""
        users = interaction[self.user_field]
        return (torch.where(self.get_buffer("_trained_users")[users], users, 0),)
