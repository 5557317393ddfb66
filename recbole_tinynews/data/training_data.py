"""What a stage is trained on: impressions, articles or masked texts, each with its loaders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from recbole_tinynews.data.dataloader import ImpressionSource, TrainDataLoader
from recbole_tinynews.data.task_news import TaskNews
from recbole_tinynews.settings.protocol import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TrainingData(Protocol):
    """A model class names its kind (``reads``); stages know no more of it than this.

    Attributes:
        settings: names of those that decide what is read, beside the tokenizer: stages that agree
            on their values share one object.
        content: a digest of what is read, the same for equal content wherever it lies.
        cache_dir: where arrays made of it are kept; ``None``: nowhere.
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
        """Batches of training and of validation; ``None`` where there is nothing to validate on.

        ``valid`` has the validation impressions; other texts have a held-out part of their own.
        """
