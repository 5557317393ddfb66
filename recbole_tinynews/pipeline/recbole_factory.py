"""Factory of RecBole's own models: one stage, with RecBole's trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole.data.dataloader import AbstractDataLoader
from recbole.data.transform import construct_transform
from recbole.utils import init_seed

from recbole_tinynews.config import NewsConfig
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.pipeline.factory import ImpressionFactory
from recbole_tinynews.recbole_models import patches
from recbole_tinynews.recbole_models.feeds import feed_of
from recbole_tinynews.recbole_models.interactions import InteractionDataset
from recbole_tinynews.recbole_models.loaders import RowDataLoader, train_loader
from recbole_tinynews.registry import find_trainer
from recbole_tinynews.trainer import on_impressions


class RecBoleFactory(ImpressionFactory):
    """Factory of RecBole's own models, which read impressions as single interactions."""

    def __init__(self, config: NewsConfig, dataset: NewsDataset) -> None:
        super().__init__(config, dataset)
        patches.apply()
        self.feed = feed_of(config.model_class, config["MODEL_INPUT_TYPE"])
        self.interactions = InteractionDataset(self.train, config, self.feed)
        construct_transform(config)  # adds field names to the config, for BERT4Rec

    def data(self, model_class: type, config: NewsConfig) -> InteractionDataset:
        """The training interactions."""
        return self.interactions

    def model(self, model_class: type, config: NewsConfig) -> Any:
        """A new model; seeded, since some draw random values that are not among their weights."""
        init_seed(config["seed"], config["reproducibility"])
        try:
            return model_class(config, self.interactions).to(config["device"])
        except Exception as problem:  # these models don't check settings, and fail in any way
            raise ValueError(
                f"RecBole's {model_class.__name__} cannot be built with these settings: "
                f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]} Check the "
                "settings of its yaml that you have changed."
            ) from problem

    def trainer(
        self, config: NewsConfig, model: Any, folder: Path | None = None, teachers: Any = None
    ) -> Any:
        """The model's RecBole trainer, on whole impressions."""
        return on_impressions(find_trainer(type(model)))(config, model, folder)

    def loaders(
        self, config: NewsConfig, data: InteractionDataset
    ) -> tuple[AbstractDataLoader, AbstractDataLoader | None]:
        """RecBole's training loader, and one of whole validation impressions or ``None``."""
        valid = self.impressions(config, self.valid) if self.valid else None
        return train_loader(config, data), valid

    def impressions(self, config: NewsConfig, shown: NewsDataset) -> AbstractDataLoader:
        """A loader of whole impressions, with one row per candidate."""
        return RowDataLoader(config, InteractionDataset(shown, config, self.feed))
