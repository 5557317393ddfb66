"""Gradient boosting on the features of time and untrained titles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import IMPRESSION_SIZE
from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.files.columns import CATEGORIES
from recbole_tinynews.files.installation import pip_install
from recbole_tinynews.model.article_reader import ANY
from recbole_tinynews.model.baselines.categoryandtitle import CONTENT
from recbole_tinynews.model.baselines.timeandtitle import TimeAndTitle
from recbole_tinynews.model.interface import further_features
from recbole_tinynews.model.time_features import TimeFeatures
from recbole_tinynews.settings.protocol import Settings


class TimeBoosted(TimeAndTitle):
    """LightGBM's lambdarank on content and all time features; refitted rather than saved."""

    fixed: ClassVar[Mapping[str, Any]] = {"reader": ANY}
    text_features = 0  # after those of the page

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

    def make_time_features(self, config: Settings) -> TimeFeatures:
        """All features of time, and those of the reader and the page."""
        self.counting = counting = Counting.of(config)
        of_page = len(CATEGORIES) if counting.page else 0
        further = further_features(counting) + of_page + self.text_features
        sizes = len(counting.windows), counting.limited
        return TimeFeatures(*sizes, extended=True, reader=counting.reader, further=further)

    def counters(self, interaction: Interaction) -> Tensor:
        """Counters, cosines with clicks and page, whether of its categories, and a text score."""
        if not (self.reads_reader or self.text_features):
            return super().counters(interaction)
        text, context, *_ = self.match_impressions(interaction)
        if context.page is not None:
            page = context.page.repeat_interleave(interaction[IMPRESSION_SIZE])
            of_news = [self.get_buffer(field) for field in CATEGORIES]
            same = [(of[context.candidates] == of[page]) & (of[page] != 0) for of in of_news]
            context = context.with_further(torch.stack(same, dim=1).float())
        if self.text_features:
            context = context.with_further(text.unsqueeze(1))
        assert context.counters is not None, "its batches have counters"
        return context.counters

    def fit(self, features: NDArray, labels: NDArray, offsets: NDArray) -> None:
        """Grow the trees."""
        sizes = np.diff(offsets)
        self.trees.fit(features, labels == 1, group=sizes[sizes > 0])

    def score_features(self, features: Tensor) -> Tensor:
        """Scores by the trees, grown first if they are not."""
        if not self.trees.__sklearn_is_fitted__():
            self.fit_impressions(*self._training)
        scores = self.trees.predict(features.cpu().numpy(), num_threads=torch.get_num_threads())
        return torch.from_numpy(scores).to(features)
