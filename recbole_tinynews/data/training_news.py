"""News as samples, for students that imitate vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction

from recbole_tinynews.data.articles import news_to_read
from recbole_tinynews.data.dataloader import (
    ImpressionDataLoader,
    TrainDataLoader,
    id_tensor,
)
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.settings.protocol import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TrainingNews:
    """Every article of ``post_train_news`` once per epoch; other attributes are the data set's."""

    settings: ClassVar[tuple[str, ...]] = ("post_train_news",)
    content: str
    cache_dir: Path | None

    def __init__(self, news: NewsDataset, articles: NDArray[np.int64], content: str) -> None:
        self.news, self.articles, self.content = news, articles, content

    @classmethod
    def read(
        cls, config: Settings, news: NewsDataset, tokenizer: PreTrainedTokenizerBase
    ) -> TrainingNews:
        """News for a stage with these settings."""
        articles, content = news_to_read(config, news), news.content
        if config["post_train_news"] != "train":
            content = content_key([content, articles.tobytes()])
        return cls(news, articles, content)

    def loaders(
        self, config: Settings, valid: Any
    ) -> tuple[TrainingNewsLoader, ImpressionDataLoader | None]:
        """Training articles, and validation impressions."""
        return (
            TrainingNewsLoader(config, self),
            ImpressionDataLoader(config, valid) if valid else None,
        )

    def __getattr__(self, name: str) -> Any:
        if name == "news":  # not set yet while being copied
            raise AttributeError(name)
        return getattr(self.news, name)


class TrainingNewsLoader(TrainDataLoader):
    """One sample is one article, as the only click and the only candidate (``[batch, 1]``)."""

    def __init__(self, config: Settings, dataset: TrainingNews) -> None:
        self.articles = dataset.articles
        super().__init__(config, dataset, len(self.articles))

    def news_ids(self) -> NDArray[np.int64]:
        """Ids of all articles."""
        return self.articles

    def collate_samples(self, samples: NDArray[np.int64]) -> Interaction:
        """The batch of these articles."""
        ids = id_tensor(self.articles[samples][:, None])
        label = torch.zeros(len(samples), dtype=torch.long)
        return Interaction({HISTORY: ids, CANDIDATES: ids, self.config["LABEL_FIELD"]: label})
