"""NewsBERT (Wu et al., Findings of EMNLP 2021): teacher and small student, trained jointly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recbole_tinynews.distillation.newsbert_losses import NewsBERTDistillation, NewsBERTWeights
from recbole_tinynews.model.stages.joint_teachers import JointTeacher, JointTeachers
from recbole_tinynews.model.student import LayerStudent
from recbole_tinynews.settings.protocol import Settings


class NewsBERT(LayerStudent):
    """The student; its loss is the paper's ``L^s`` plus its teacher's ``L^t``.

    ``L^s = L_distill + L_hidden_layers + L_hidden_pooled + CE``: soft labels; embedding output and
    hidden states of paired layers; pooled news vectors; the target. ``L^t`` is the teacher's
    ``CE``. Gradients of paired layers are mixed: ``g^s_i <- beta g^t_i + (1 - beta) g^s_i``
    (docs/method.md, section 8). Our definition: ``T ** 2``; layer pairs for any depth, and which
    layers lend momentum; a shared user encoder that learns from both losses; each distinct article
    of a batch counts once.
    """

    trainer_class = "JointTrainer"
    weights = NewsBERTWeights
    teacher_stage = "post_train_teacher"
    one_teacher = True

    @classmethod
    def _other_tokens(cls, config: Settings, teacher: Settings) -> Iterator[str]:
        """None: teachers are built with the student's settings."""
        yield from ()

    @classmethod
    def learnt_losses(cls) -> tuple[str, ...]:
        """Names of all losses but the teachers' own."""
        of_teachers = NewsBERTDistillation.of_teachers
        return tuple(loss for loss in super().learnt_losses() if loss not in of_teachers)

    def make_distillation(self, config: Settings) -> NewsBERTDistillation:
        """The losses of student and teachers."""
        compared, weights = self.compared(config), self.loss_weights(config)
        if not compared.pairs and self.news_encoder.language_model.pooling is None:
            weights = weights._replace(news_vector=0.0)  # nothing before them trains
        # nothing is projected: states of another width are refused
        compared = compared._replace(teacher_dim=compared.student_dim)
        number = self.number_of_teachers(config)
        return NewsBERTDistillation(number, compared, config["temperature"], weights)

    def make_teachers(self, config: Settings, dataset: Any, count: int) -> JointTeachers:
        """Teachers with the pretrained language model and this student's heads."""
        teachers = [JointTeacher(config, dataset) for _ in range(count)]
        return JointTeachers(self, teachers, config["layer_mapping"], config["gradient_momentum"])


class NewsBERTMT(NewsBERT):
    """The last checkpoints of the post-trained teacher train together with one student.

    Tiny-NewsRec (EMNLP 2022) compares with it and has no formula. Our definition: the student's
    losses are averaged over the teachers, which each learn from their own ``L^t``; momentum takes
    the mean of their gradients; all share pooling, dense layer and user encoder, which start from
    the last checkpoint.
    """

    one_teacher = False
