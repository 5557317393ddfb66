"""When what is trained, frozen, labelled and saved."""

from __future__ import annotations

from recbole_tinynews.trainer.distillation_trainer import DistillationTrainer
from recbole_tinynews.trainer.news_trainer import NewsTrainer
from recbole_tinynews.trainer.post_training import PostTrainingTrainer


class TinyNewsRecTrainer(DistillationTrainer):
    """Stage II: the student under its finetuned teachers."""


class TitleBodyStudentTrainer(DistillationTrainer):
    """Stage I: the student under its post-trained teachers."""


class TitleBodyMatcherTrainer(PostTrainingTrainer):
    """Post-training of the teacher."""


__all__ = [
    "DistillationTrainer",
    "NewsTrainer",
    "PostTrainingTrainer",
    "TinyNewsRecTrainer",
    "TitleBodyMatcherTrainer",
    "TitleBodyStudentTrainer",
]
