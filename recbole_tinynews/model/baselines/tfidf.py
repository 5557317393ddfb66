"""TF-IDF: similarity of a title to the clicked titles by their words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATES, HISTORY, IMPRESSION_SIZE
from recbole_tinynews.model.interface import ImpressionRecommender
from recbole_tinynews.settings.protocol import Settings


class TfIdf(ImpressionRecommender):
    """The highest TF-IDF cosine of a candidate's title and a clicked one; 0 without clicks."""

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        texts = dataset.texts(config["news_text"])
        known = dataset.inter_feat.news_ids(config["history_length"])
        vectorizer = TfidfVectorizer().fit([texts[news] for news in known])
        self.vectors = vectorizer.transform(texts)  # [news, words], sparse, of length 1 or 0

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``."""
        histories = interaction[HISTORY].cpu().numpy()
        ends = interaction[IMPRESSION_SIZE].cumsum(0).cpu().numpy()
        shown = np.split(interaction[CANDIDATES].cpu().numpy(), ends[:-1])
        best = [
            # the vector of padding is 0, and no cosine is negative
            (self.vectors[candidates] @ self.vectors[clicked].T).max(axis=1).toarray().ravel()
            for clicked, candidates in zip(histories, shown, strict=True)
        ]
        return torch.from_numpy(np.concatenate(best)).float().to(self.device)
