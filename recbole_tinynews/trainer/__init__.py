"""Trainers, selected by a model's ``trainer_class``."""

from __future__ import annotations

from recbole_tinynews.trainer.distillation_trainer import (
    DistillationTrainer,
    EnsembleTeacherTrainer,
    JointTrainer,
)
from recbole_tinynews.trainer.news_trainer import NewsTrainer
from recbole_tinynews.trainer.post_training import (
    MaskedLanguageModelTrainer,
    PostTrainingTrainer,
    StageOneTrainer,
)
from recbole_tinynews.trainer.recbole_training import on_impressions
from recbole_tinynews.trainer.untrained import UntrainedNewsTrainer, UntrainedTrainer

__all__ = [
    "DistillationTrainer",
    "EnsembleTeacherTrainer",
    "JointTrainer",
    "MaskedLanguageModelTrainer",
    "NewsTrainer",
    "PostTrainingTrainer",
    "StageOneTrainer",
    "UntrainedNewsTrainer",
    "UntrainedTrainer",
    "on_impressions",
]
