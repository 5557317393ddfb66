"""A run of one of RecBole's own models on impressions: one stage, with RecBole's trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole.data.dataloader import AbstractDataLoader
from recbole.data.transform import construct_transform
from recbole.utils import init_seed

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.pipeline.artifact import Weights
from recbole_tinynews.pipeline.stages import Recipe, Run
from recbole_tinynews.recbole_models import patches
from recbole_tinynews.recbole_models.feeds import feed_of
from recbole_tinynews.recbole_models.interactions import InteractionDataset
from recbole_tinynews.recbole_models.loaders import RowDataLoader, train_loader
from recbole_tinynews.registry import find_trainer
from recbole_tinynews.trainer import on_impressions


class RecBoleRun(Run):
    """As ``Run``, with another view of the data, RecBole's loaders and RecBole's trainer."""

    def __init__(self, config: NewsConfig, dataset: NewsDataset) -> None:
        super().__init__(config, dataset)
        patches.apply()
        self.feed = feed_of(config.model_class, config["MODEL_INPUT_TYPE"])
        self.interactions = InteractionDataset(self.train, config, self.feed)
        construct_transform(config)  # it puts the names of its fields into the config, for BERT4Rec

    def data_of(self, model_class: type, config: NewsConfig) -> Any:
        """The training interactions."""
        return self.interactions

    def rebuild(self, weights: Weights) -> Any:
        """As ``Run``'s; what a model draws while it is built is drawn as it was for training."""
        init_seed(self.config["seed"], self.config["reproducibility"])
        return super().rebuild(weights)

    def trainer(
        self, config: NewsConfig, model: Any, teachers: Any = None, folder: Path | None = None
    ) -> Any:
        """RecBole's trainer of the model, over whole impressions."""
        return on_impressions(find_trainer(type(model)))(config, model, folder)

    def impressions(self, config: NewsConfig, shown: NewsDataset) -> AbstractDataLoader:
        """Batches of whole impressions, a row for each candidate."""
        return RowDataLoader(config, InteractionDataset(shown, config, self.feed))

    def loaders(
        self, config: NewsConfig, data: Any
    ) -> tuple[AbstractDataLoader, AbstractDataLoader | None]:
        """RecBole's own batches of training, and whole impressions of validation."""
        valid = self.impressions(config, self.valid) if self.valid else None
        return train_loader(config, data), valid

    def _write_plm(self, recipe: Recipe) -> None:
        """There is no language model."""

    def _plm_content(self, config: NewsConfig) -> str:
        return ""
