"""Logit of time and untrained titles: a practitioner's first model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.counting = Counting.of(config)
        self.time_features = self.make_time_features(self.counting)

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Refuse the reader's part, for which the logit has no features; time it has."""
        yield from super(CategoryAndTitle, cls).conflicting_settings(config, prefix)
        if config["reader"] == "added":
            yield (
                f"{prefix}reader must be none in {cls.__name__}, got added. Use TimeBoosted, which "
                "reads what the reader saw"
            )

    def make_time_features(self, counting: Counting) -> TimeFeatures:
        """Its features of time, made of these counters."""
        return TimeFeatures(len(counting.windows), counting.limited)

    def counters(self, interaction: Interaction) -> Tensor:
        """What the features of time are made of, ``[candidates, counters]``."""
        return interaction[CANDIDATE_FEATURES]

    def further_features(self, config: Settings) -> list[str]:
        """Age, exposures and a rate for each window."""
        windows = Counting.of(config).windows
        rates = ["rate ever" if hours is None else f"rate {hours:g} h" for hours in windows]
        return ["age", "exposures", *rates]

    def make_time_score(self, config: Settings) -> None:
        """No separate term: time is among the features."""

    def fit_further(self, batches: list[Interaction], labels: Tensor) -> None:
        """Fit click rate and scale of the time features."""
        self.time_features.fit(torch.cat([*map(self.counters, batches)]), labels)

    def standardised(self, content: Tensor, interaction: Interaction) -> Tensor:
        """Content and time features, ``[candidates, features]``."""
        time = self.time_features(self.counters(interaction))
        return torch.cat([super().standardised(content, interaction), time], dim=1)
