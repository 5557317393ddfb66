"""Logit of time and untrained titles: a practitioner's first model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.model.article_reader import ANY
from recbole_tinynews.model.baselines.categoryandtitle import CategoryAndTitle
from recbole_tinynews.model.time_features import TimeFeatures
from recbole_tinynews.settings.protocol import Settings


class TimeAndTitle(CategoryAndTitle):
    """Conditional logit of content and time features (docs/method.md, section 13)."""

    fixed: ClassVar[Mapping[str, Any]] = {"popularity": ANY, "reader": "none"}

    def make_time_features(self, config: Settings) -> TimeFeatures:
        """Age, exposures and a rate for each window."""
        self.counting = Counting.of(config)
        return TimeFeatures(len(self.counting.windows), self.counting.limited)

    def make_time_score(self, config: Settings) -> None:
        """No separate term: time is among the features."""
