"""Trainers, selected by a model's ``trainer_class``."""

from __future__ import annotations

from recbole.utils import get_trainer

from recbole_tinynews.settings.registry import is_stock_model
from recbole_tinynews.settings.values import suggest
from recbole_tinynews.trainer.distillation_trainer import (
    DistillationTrainer,
    EnsembleTeacherTrainer,
    JointTrainer,
    MaskedLanguageModelTrainer,
    PostTrainingTrainer,
)
from recbole_tinynews.trainer.impression_evaluation import on_impressions
from recbole_tinynews.trainer.news_trainer import (
    NewsTrainer,
    UntrainedNewsTrainer,
    UntrainedTrainer,
)

__all__ = [
    "DistillationTrainer",
    "EnsembleTeacherTrainer",
    "JointTrainer",
    "MaskedLanguageModelTrainer",
    "NewsTrainer",
    "PostTrainingTrainer",
    "UntrainedNewsTrainer",
    "UntrainedTrainer",
    "find_trainer",
    "on_impressions",
]


def find_trainer(model_class: type) -> type:
    """The model's ``trainer_class`` (``ValueError`` if unknown), or RecBole's trainer."""
    named = getattr(model_class, "trainer_class", None)
    if named is None:
        stock = next(cls for cls in model_class.__mro__ if is_stock_model(cls))
        return get_trainer(getattr(model_class, "type", None), stock.__name__)
    if isinstance(named, type):
        return named
    if named not in __all__:
        raise ValueError(
            f"{model_class.__name__}.trainer_class expects a class, or the name of one in "
            f"recbole_tinynews.trainer, got {named!r}.{suggest(str(named), __all__)}"
        )
    return globals()[named]
