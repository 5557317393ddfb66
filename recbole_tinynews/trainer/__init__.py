"""When what is trained, frozen, labelled and saved."""

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


class StudentTrainer(DistillationTrainer):
    """Students under frozen teachers, all but those whose own trainer follows."""


class TinyNewsRecTrainer(StudentTrainer):
    """Stage II: the student under its finetuned teachers."""


class NewsBERTTrainer(JointTrainer):
    """The student and its teachers in one run; NewsBERT-MT's too."""


class TitleBodyStudentTrainer(DistillationTrainer):
    """Stage I: the student under its post-trained teachers."""

    def prepare(self, interaction: Interaction) -> Interaction:
        """The batch with its titles chosen, and then with its teachers' outputs."""
        return super().prepare(choose_titles(self.config, self.model, interaction))


class TitleBodyMatcherTrainer(PostTrainingTrainer):
    """Post-training of the teacher."""

    def prepare(self, interaction: Interaction) -> Interaction:
        """The batch with its titles chosen."""
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
    "on_impressions",
]
