"""The interface between a stage and its training data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from recbole_tinynews.data.dataloader import ImpressionSource, TrainDataLoader
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.settings.protocol import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TrainingData(Protocol):
    """Impressions, articles or masked texts; a model's ``reads`` names the class.

    ``settings`` (names) and the tokenizer decide what is read, ``content`` is its digest, and
    ``cache_dir`` the folder of cached arrays (``None``: no cache).
    """

    settings: ClassVar[tuple[str, ...]]
    content: str
    cache_dir: Path | None

    @classmethod
    def read(cls, config: Settings, news: NewsDataset, tokenizer: PreTrainedTokenizerBase) -> Any:
        """The data for a stage with these settings; ``news`` has the training impressions."""

    def loaders(
        self, config: Settings, valid: ImpressionSource | None
    ) -> tuple[TrainDataLoader, Any]:
        """Training batches, and validation batches (of ``valid`` or held-out texts) or ``None``."""
