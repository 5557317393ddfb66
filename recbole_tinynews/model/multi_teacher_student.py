"""The base of Tiny-NewsRec's students, in Stage I and in Stage II."""

from __future__ import annotations

from typing import ClassVar

from recbole_tinynews.distillation.tinynewsrec import TinyNewsRecDistillation, TinyNewsRecWeights
from recbole_tinynews.model.student import Student
from recbole_tinynews.model.text_encoders import reads_words, starts_pretrained
from recbole_tinynews.settings.protocol import Settings


class MultiTeacherStudent(Student):
    """Soft labels, projected vectors and the target, under teachers weighted for each sample.

    Attributes:
        losses_of_stage: which of the two losses, ``L_1`` or ``L_2``.
    """

    weights = TinyNewsRecWeights
    losses_of_stage: ClassVar[type[TinyNewsRecDistillation]]

    def make_distillation(self, config: Settings) -> TinyNewsRecDistillation:
        """Losses on scores, on vectors of items and users, and on the right candidate."""
        of_teachers = config.for_stage(self.teacher_stage)
        one_space = not (reads_words(config) or reads_words(of_teachers))
        return self.losses_of_stage(
            self.number_of_teachers(config),
            self.teacher_class.news_dim(of_teachers),
            self.news_dim(config),
            config["temperature"],
            self.loss_weights(config),
            self.teacher_weighting(config),
            config["shared_projection"],
            aligned=starts_pretrained(config) and one_space,
        )
