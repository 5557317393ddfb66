"""Gradient boosting on the features of time and untrained titles."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.files.installation import pip_install
from recbole_tinynews.model.baselines.categoryandtitle import CONTENT
from recbole_tinynews.model.baselines.timeandtitle import TimeAndTitle
from recbole_tinynews.settings.protocol import Settings


class TimeBoosted(TimeAndTitle):
    """LightGBM's lambdarank on content and all time features; refitted rather than saved."""

    extended: ClassVar[bool] = True

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        try:
            from lightgbm import LGBMRanker
        except (ImportError, OSError) as error:  # it needs libgomp
            raise ImportError(
                "TimeBoosted expects LightGBM, which is not installed. Run: "
                f"{pip_install('boosting')}"
            ) from error
        rising = np.zeros(len(CONTENT) + self.time_features.size, int)
        rising[len(CONTENT) :][: self.time_features.rising] = 1  # clicks never lower a score
        self.trees = LGBMRanker(
            n_estimators=config["boosting_rounds"],
            learning_rate=config["boosting_rate"],
            random_state=int(config["seed"]),
            n_jobs=torch.get_num_threads(),
            deterministic=True,
            force_row_wise=True,
            monotone_constraints=rising.tolist(),
            verbose=-1,
        )
        self._training = config, dataset

    def fit(self, features: NDArray, labels: NDArray, offsets: NDArray) -> None:
        """Grow the trees."""
        sizes = np.diff(offsets)
        self.trees.fit(features, labels == 1, group=sizes[sizes > 0])

    def score_features(self, features: Tensor) -> Tensor:
        """Scores by the trees, grown first if they are not."""
        if not self.trees.__sklearn_is_fitted__():
            self.start_heads(*self._training)
        scores = self.trees.predict(features.cpu().numpy(), num_threads=torch.get_num_threads())
        return torch.from_numpy(scores).to(features)
