"""The base of Tiny-NewsRec's students in Stages I and II."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from recbole_tinynews.distillation.embedding import fitted_projection
from recbole_tinynews.distillation.tinynewsrec import TinyNewsRecDistillation, TinyNewsRecWeights
from recbole_tinynews.model.student import Student
from recbole_tinynews.model.text_encoders import reads_words, starts_pretrained
from recbole_tinynews.settings.protocol import Settings

AT_ONCE = 4_096  # articles whose vectors are multiplied together


class MultiTeacherStudent(Student):
    """Soft labels, projected vectors and the target, under teachers weighted for each sample."""

    weights = TinyNewsRecWeights
    losses_of_stage: ClassVar[type[TinyNewsRecDistillation]]
    _fits_projections = False

    def make_distillation(self, config: Settings) -> TinyNewsRecDistillation:
        """Losses on scores, on item and user vectors, and on the target."""
        of_teachers = config.for_stage(self.teacher_stage)
        one_space = not (reads_words(config) or reads_words(of_teachers))
        pretrained = starts_pretrained(config)
        balanced = (config["embedding_loss"] or ("balanced" if pretrained else "mse")) == "balanced"
        self._fits_projections = pretrained and not one_space
        return self.losses_of_stage(
            self.number_of_teachers(config),
            self.teacher_class.news_dim(of_teachers),
            self.news_dim(config),
            config["temperature"],
            self.loss_weights(config),
            self.teacher_weighting(config),
            config["shared_projection"],
            aligned=pretrained and one_space,
            balanced=balanced,
        )

    @torch.no_grad()
    def start_distillation(self, teachers: Sequence[Any], dataset: Any) -> None:
        """Fit the projections if student and teachers start in different spaces."""
        for_users = any(each.reads_for_users for each in (self, *teachers))
        if not self._fits_projections or for_users or not self.distillation.weights.embedding:
            return
        training, news = self.training, dataset.training_news()
        for each in (self.eval(), *teachers):
            each.news_encoder.encode_ahead(news)
        parts = torch.from_numpy(news).to(self.device).split(AT_ONCE)
        self.distillation.start_projections(
            [
                fitted_projection((self.encode_news(ids), each.encode_news(ids)) for ids in parts)
                for each in teachers
            ]
        )
        self.train(training)
