"""Interfaces between a stage, its training data and the run's data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.data.dataloader import ImpressionSource, TrainDataLoader
from recbole_tinynews.data.impressions import Impressions
from recbole_tinynews.settings.protocol import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TaskNews(Protocol):
    """The part of a run's data set that stages read: a part of ``NewsDataset``."""

    dataset_name: str
    cache_dir: Path | None
    news_text: Mapping[str, list[str]]
    field2id_token: Mapping[str, NDArray]
    item_feat: Mapping[str, Tensor]
    inter_feat: Impressions
    log: Impressions


class TrainingData(Protocol):
    """Impressions, articles or masked texts; a model's ``reads`` names the class.

    ``settings`` (names) and the tokenizer decide what is read, ``content`` is its digest, and
    ``cache_dir`` the folder of cached arrays (``None``: no cache).
    """

    settings: ClassVar[tuple[str, ...]]
    content: str
    cache_dir: Path | None

    @classmethod
    def read(cls, config: Settings, news: TaskNews, tokenizer: PreTrainedTokenizerBase) -> Any:
        """The data for a stage with these settings; ``news`` has the training impressions."""

    def loaders(
        self, config: Settings, valid: ImpressionSource | None
    ) -> tuple[TrainDataLoader, Any]:
        """Training batches, and validation batches (of ``valid`` or held-out texts) or ``None``."""
