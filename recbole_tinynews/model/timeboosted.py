"""Gradient boosting on the features of time and untrained titles."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor

from recbole_tinynews.model.timeandtitle import TimeAndTitle
from recbole_tinynews.settings.protocol import Settings


class TimeBoosted(TimeAndTitle):
    """Gradient-boosted trees on ``TimeAndTitle``'s features, refitted rather than saved."""

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.trees = HistGradientBoostingClassifier(
            max_iter=config["boosting_rounds"],
            learning_rate=config["boosting_rate"],
            early_stopping=False,
            random_state=int(config["seed"]),
        )
        self._training = config, dataset

    def _fit(self, features: NDArray, labels: NDArray, offsets: NDArray) -> None:
        self.trees.fit(features, labels == 1)

    def _score(self, features: Tensor) -> Tensor:
        if not hasattr(self.trees, "classes_"):
            self.start_heads(*self._training)
        scores = self.trees.decision_function(features.cpu().numpy())
        return torch.from_numpy(scores).to(features)
