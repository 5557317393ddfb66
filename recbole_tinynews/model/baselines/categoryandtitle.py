"""Logit of categories and untrained titles: what a practitioner has without training."""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.dataloader import ImpressionDataLoader
from recbole_tinynews.data.fields import CANDIDATE_FEATURES, CANDIDATES, HISTORY, IMPRESSION_SIZE
from recbole_tinynews.files.columns import CATEGORIES
from recbole_tinynews.model.baselines.zeroshotplm import ZeroShotPLM
from recbole_tinynews.model.time_features import TimeFeatures, fit_conditional_logit
from recbole_tinynews.settings.protocol import Settings

CONTENT = ("category", "subcategory", "titles", "nearest title")


class CategoryAndTitle(ZeroShotPLM):
    """Conditional logit of content features (docs/method.md, section 11).

    Shares of the clicks in the candidate's category and subcategory, mean and maximum cosine of its
    untrained vector with the clicks', standardised on training data. With ``news_text:
    title_abstract`` the vectors are those of title and abstract.
    """

    fixed: ClassVar[Mapping[str, Any]] = {"popularity": "none"}
    article_categories: Tensor
    content_mean: Tensor
    content_scale: Tensor
    weights: Tensor

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.time_features: Any = self.make_time_features(config)
        further = 0 if self.time_features is None else self.time_features.size
        self.register_buffer("content_mean", torch.zeros(len(CONTENT)))
        self.register_buffer("content_scale", torch.ones(len(CONTENT)))
        self.register_buffer("weights", torch.zeros(len(CONTENT) + further))
        unknown = torch.zeros(1, dtype=torch.long)
        columns = [unknown if dataset is None else dataset.item_feat[f] for f in CATEGORIES]
        self.register_buffer("article_categories", torch.stack(columns, dim=1), persistent=False)

    def make_time_features(self, config: Settings) -> TimeFeatures | None:
        """Features of time, which follow ``CONTENT``; here none."""
        return None

    def counters(self, interaction: Interaction) -> Tensor:
        """What the features of time are made of, ``[candidates, counters]``."""
        return interaction[CANDIDATE_FEATURES]

    @torch.no_grad()
    def start_heads(self, config: Settings, dataset: Any) -> None:
        """Initialise the heads, and fit the logit on the training impressions."""
        super().start_heads(config, dataset)
        self.fit_impressions(config, dataset)

    @torch.no_grad()
    def fit_impressions(self, config: Settings, dataset: Any) -> None:
        """Fit the weights of all features on the training impressions."""
        loader = ImpressionDataLoader(config, dataset)
        self.eval()
        batches = [batch.to(self.device) for batch, *_ in loader]
        content = [self.content(batch) for batch in batches]
        every = torch.cat(content).double()
        self.content_mean.copy_(every.mean(0))
        self.content_scale.copy_(every.std(0, correction=0).clamp(min=1e-9))
        labels = dataset.inter_feat.labels
        if self.time_features is not None:
            clicked = torch.from_numpy(np.array(labels)).to(self.device)
            self.time_features.fit(torch.cat([*map(self.counters, batches)]), clicked)
        features = torch.cat([*map(self.standardised, content, batches)]).cpu().numpy()
        self.fit(features, labels, dataset.inter_feat.candidates.offsets)

    def fit(self, features: NDArray, labels: NDArray, offsets: NDArray) -> None:
        """Fit the weights of standardised features; ``offsets`` are bounds of the impressions."""
        weights = fit_conditional_logit(features, labels, offsets)
        self.weights.copy_(torch.from_numpy(weights))
        listed = ", ".join(f"{weight:+.2f}" for weight in weights)
        what = f"weights of standardised features, the first of {', '.join(CONTENT)}"
        getLogger().info(f"{type(self).__name__}: {what}: {listed}")

    @torch.no_grad()
    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``.

        Those of the titles alone where features of time are wanted and nothing was counted.
        """
        if self.time_features is not None and CANDIDATE_FEATURES not in interaction.interaction:
            return super().predict(interaction)
        return self.score_features(self.features(interaction))

    def score_features(self, features: Tensor) -> Tensor:
        """Scores, ``[candidates, features] -> [candidates]``."""
        return features @ self.weights

    def features(self, interaction: Interaction) -> Tensor:
        """Standardised features of every candidate, ``[candidates, features]``."""
        return self.standardised(self.content(interaction), interaction)

    def standardised(self, content: Tensor, interaction: Interaction) -> Tensor:
        """Standardised features of candidates, from their ``content`` features."""
        content = (content - self.content_mean) / self.content_scale
        if self.time_features is None:
            return content
        return torch.cat([content, self.time_features(self.counters(interaction))], dim=1)

    def content(self, interaction: Interaction) -> Tensor:
        """Content features of candidates, ``[candidates, 4]``; zeros without a click."""
        history, sizes = interaction[HISTORY], interaction[IMPRESSION_SIZE]
        clicked = self.encode_news(history)  # [batch, history, dim], of length 1 or 0
        parts = zip(interaction[CANDIDATES].split(sizes.tolist()), history, clicked, strict=True)
        return torch.cat([self._of_impression(*part) for part in parts])

    def _of_impression(self, candidates: Tensor, history: Tensor, clicked: Tensor) -> Tensor:
        real = history != 0
        history, clicked = history[real], clicked[real]
        if not len(history):
            return torch.zeros(len(candidates), len(CONTENT), device=candidates.device)
        wanted = self.article_categories[candidates].unsqueeze(1)
        same = (self.article_categories[history] == wanted) & (wanted != 0)
        cosines = self.encode_news(candidates) @ clicked.T
        of_titles = torch.stack([cosines.mean(1), cosines.amax(1)], dim=1)
        return torch.cat([same.float().mean(1), of_titles], dim=1)
