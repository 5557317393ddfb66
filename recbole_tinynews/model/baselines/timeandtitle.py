"""Logit of time and untrained titles: a practitioner's first model."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATE_FEATURES
from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.model.baselines.categoryandtitle import CategoryAndTitle
from recbole_tinynews.model.time_features import TimeFeatures
from recbole_tinynews.settings.protocol import Settings


class TimeAndTitle(CategoryAndTitle):
    """Conditional logit of content and time features (docs/method.md, section 13)."""

    reads_time: ClassVar[bool] = True
    extended: ClassVar[bool] = False  # its features of time

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        counting = Counting.of(config)
        sizes = len(counting.windows), len(counting.limited)
        self.time_features = TimeFeatures(*sizes, self.extended)

    def further_features(self, config: Settings) -> list[str]:
        """Age, exposures and a rate for each window."""
        windows = Counting.of(config).windows
        rates = ["rate ever" if hours is None else f"rate {hours:g} h" for hours in windows]
        return ["age", "exposures", *rates]

    def make_time_score(self, config: Settings) -> None:
        """No separate term: time is among the features."""

    def fit_further(self, batches: list[Interaction], labels: Tensor) -> None:
        """Fit click rate and scale of the time features."""
        self.time_features.fit(torch.cat([each[CANDIDATE_FEATURES] for each in batches]), labels)

    def standardised(self, content: Tensor, interaction: Interaction) -> Tensor:
        """Content and time features, ``[candidates, features]``."""
        time = self.time_features(interaction[CANDIDATE_FEATURES])
        return torch.cat([super().standardised(content, interaction), time], dim=1)
