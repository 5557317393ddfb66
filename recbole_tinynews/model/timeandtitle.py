"""Logit of time and untrained titles: a practitioner's first model."""

from __future__ import annotations

from logging import getLogger
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.dataloader import ImpressionDataLoader
from recbole_tinynews.data.fields import CANDIDATE_FEATURES, CANDIDATES, HISTORY, IMPRESSION_SIZE
from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.files.columns import CATEGORIES
from recbole_tinynews.model.time_features import TimeFeatures, fit_conditional_logit
from recbole_tinynews.model.zeroshotplm import ZeroShotPLM
from recbole_tinynews.settings.protocol import Settings

CONTENT = ("category", "subcategory", "titles", "nearest title")


class TimeAndTitle(ZeroShotPLM):
    """Conditional logit of content and time features (docs/method.md, section 13).

    Shares of the clicks in the candidate's category and subcategory, mean and maximum cosine of its
    untrained title vector with the clicks', and ``TimeFeatures``, standardised on training data.
    """

    extended: ClassVar[bool] = False  # its features of time
    ranks_given_articles: ClassVar[bool] = False  # it needs categories of clicks, and counters
    content_mean: Tensor
    content_scale: Tensor
    weights: Tensor

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.time_features = TimeFeatures(len(config["popularity_windows"]), self.extended)
        self.windows = Counting.of(config).windows
        self.register_buffer("content_mean", torch.zeros(len(CONTENT)))
        self.register_buffer("content_scale", torch.ones(len(CONTENT)))
        self.register_buffer("weights", torch.zeros(len(CONTENT) + self.time_features.size))
        for field in CATEGORIES:  # [news], 0 where it is unknown
            self.register_buffer(field, dataset.item_feat[field], persistent=False)

    def make_time_score(self, config: Settings) -> None:
        """No separate term: time is among the features."""

    @torch.no_grad()
    def start_heads(self, config: Settings, dataset: Any) -> None:
        """Fit the logit on the training impressions."""
        super().start_heads(config, dataset)
        loader = ImpressionDataLoader(config, dataset)
        self.eval()
        batches = [batch.to(self.device) for batch, *_ in loader]
        content = torch.cat([self._content(batch) for batch in batches])
        counters = torch.cat([batch[CANDIDATE_FEATURES] for batch in batches])
        labels = dataset.inter_feat.labels
        self.time_features.fit(counters, torch.from_numpy(np.array(labels)).to(self.device))
        self.content_mean.copy_(content.double().mean(0))
        self.content_scale.copy_(content.double().std(0, correction=0).clamp(min=1e-9))
        features = self._standardised(content, counters).cpu().numpy()
        self._fit(features, labels, dataset.inter_feat.candidates.offsets)

    def _fit(self, features: NDArray, labels: NDArray, offsets: NDArray) -> None:
        weights = fit_conditional_logit(features, labels, offsets)
        self.weights.copy_(torch.from_numpy(weights))
        rates = ["rate ever" if hours is None else f"rate {hours:g} h" for hours in self.windows]
        named = zip([*CONTENT, "age", "exposures", *rates], weights, strict=True)
        told = ", ".join(f"{name} {weight:+.2f}" for name, weight in named)
        getLogger().info(f"{type(self).__name__}: weights of standardised features: {told}")

    @torch.no_grad()
    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        return self._score(self.features(interaction))

    def features(self, interaction: Interaction) -> Tensor:
        """Standardised features of every candidate, ``[candidates, features]``."""
        return self._standardised(self._content(interaction), interaction[CANDIDATE_FEATURES])

    def _score(self, features: Tensor) -> Tensor:
        return features @ self.weights

    def _standardised(self, content: Tensor, counters: Tensor) -> Tensor:
        content = (content - self.content_mean) / self.content_scale
        return torch.cat([content, self.time_features(counters)], dim=1)

    def _content(self, interaction: Interaction) -> Tensor:
        """Content features of candidates, ``[candidates, 4]``; zeros without a click."""
        history, sizes = interaction[HISTORY], interaction[IMPRESSION_SIZE]
        clicked = self.encode_news(history)  # [batch, history, dim], of length 1 or 0
        parts = zip(interaction[CANDIDATES].split(sizes.tolist()), history, clicked, strict=True)
        return torch.cat([self._of_impression(*part) for part in parts])

    def _of_impression(self, candidates: Tensor, history: Tensor, clicked: Tensor) -> Tensor:
        there = history != 0
        history, clicked = history[there], clicked[there]
        if not len(history):
            return torch.zeros(len(candidates), len(CONTENT), device=candidates.device)
        shares = []
        for field in CATEGORIES:
            of_news = self.get_buffer(field)
            wanted = of_news[candidates].unsqueeze(1)
            same = (of_news[history] == wanted) & (wanted != 0)  # [candidates, clicks]
            shares.append(same.float().mean(1))
        cosines = self.encode_news(candidates) @ clicked.T
        return torch.stack([*shares, cosines.mean(1), cosines.amax(1)], dim=1)
