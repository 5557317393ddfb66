"""Trainers: what they train, when they validate and save, and who labels their batches."""

from __future__ import annotations

from recbole.data.interaction import Interaction

from recbole_tinynews.trainer.distillation_trainer import DistillationTrainer
from recbole_tinynews.trainer.ensemble_teacher import EnsembleTeacherTrainer
from recbole_tinynews.trainer.hard_titles import choose_titles
from recbole_tinynews.trainer.joint_trainer import JointTrainer
from recbole_tinynews.trainer.masked_language_model import MaskedLanguageModelTrainer
from recbole_tinynews.trainer.news_trainer import NewsTrainer
from recbole_tinynews.trainer.post_training import PostTrainingTrainer
from recbole_tinynews.trainer.recbole_training import on_impressions
from recbole_tinynews.trainer.untrained import UntrainedTrainer


class StudentTrainer(DistillationTrainer):
    """Trains students under frozen teachers; a student with a trainer of its own name uses that."""


class TinyNewsRecTrainer(StudentTrainer):
    """Stage II: trains the student under its finetuned teachers."""


class NewsBERTTrainer(JointTrainer):
    """Trains the student and its teachers together, for NewsBERT and NewsBERT-MT."""


class ZeroShotPLMTrainer(UntrainedTrainer, NewsTrainer):
    """Saves and validates the language model's own ranking; nothing trains."""


class ZeroShotWordsTrainer(UntrainedTrainer, NewsTrainer):
    """Saves and validates the word vectors' own ranking; nothing trains."""


class TitleBodyStudentTrainer(DistillationTrainer):
    """Stage I: trains the student under its post-trained teachers."""

    def prepare(self, interaction: Interaction) -> Interaction:
        """Choose the titles of the batch, then add its teachers' outputs."""
        return super().prepare(choose_titles(self.config, self.model, interaction))


class TitleBodyMatcherTrainer(PostTrainingTrainer):
    """Post-trains the teacher."""

    def prepare(self, interaction: Interaction) -> Interaction:
        """Choose the titles of the batch."""
        return super().prepare(choose_titles(self.config, self.model, interaction))


__all__ = [
    "DistillationTrainer",
    "EnsembleTeacherTrainer",
    "JointTrainer",
    "MaskedLanguageModelTrainer",
    "NewsBERTTrainer",
    "NewsTrainer",
    "PostTrainingTrainer",
    "StudentTrainer",
    "TinyNewsRecTrainer",
    "TitleBodyMatcherTrainer",
    "TitleBodyStudentTrainer",
    "UntrainedTrainer",
    "ZeroShotPLMTrainer",
    "ZeroShotWordsTrainer",
    "on_impressions",
]
