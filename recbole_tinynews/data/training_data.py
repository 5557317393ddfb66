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
    """What a stage needs of its training data; a model class names the class (``reads``).

    Attributes:
        settings: names of the settings that decide what is read (the tokenizer does too): stages
            with equal values share one object.
        content: digest of what is read, whatever the path of the files.
        cache_dir: folder of cached arrays; ``None``: nothing is cached.
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

        ``valid`` has the validation impressions; data other than clicks has its own held-out part.
        """
