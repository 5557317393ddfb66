"""News of the training impressions as samples, for students that imitate vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction

from recbole_tinynews.data.dataloader import (
    ImpressionDataLoader,
    ImpressionSource,
    TrainDataLoader,
    id_tensor,
)
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.settings.protocol import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TrainingNews:
    """Every article of the training impressions once per epoch; other attributes are theirs."""

    settings: ClassVar[tuple[str, ...]] = ()
    validates_on_impressions: ClassVar[bool] = True
    content: str
    cache_dir: Path | None

    def __init__(self, news: NewsDataset) -> None:
        self.news = news

    @classmethod
    def read(
        cls, config: Settings, news: NewsDataset, tokenizer: PreTrainedTokenizerBase
    ) -> TrainingNews:
        """News of these training impressions."""
        return cls(news)

    def loaders(
        self, config: Settings, valid: ImpressionSource | None
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
        self.articles = dataset.training_news()
        super().__init__(config, dataset, len(self.articles))

    def news_ids(self) -> NDArray[np.int64]:
        """Ids of all articles."""
        return self.articles

    def collate_samples(self, samples: NDArray[np.int64]) -> Interaction:
        """The batch of these articles."""
        ids = id_tensor(self.articles[samples][:, None])
        label = torch.zeros(len(samples), dtype=torch.long)
        return Interaction({HISTORY: ids, CANDIDATES: ids, self.config["LABEL_FIELD"]: label})
