"""NewsBERT: a teacher and a small student that learn from clicks and from each other, in one run.

Wu et al., "NewsBERT: Distilling Pre-trained Language Model for Intelligent News Application",
Findings of EMNLP 2021.
"""

from __future__ import annotations

from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.distillation.newsbert import (
    TEACHERS,
    JointDistillation,
    JointWeights,
    Observed,
)
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.model.joint_teachers import JointTeacher, JointTeachers, observe
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.student import loss_weights


class NewsBERT(NewsRecommender):
    """The student; its loss holds ``L^s`` of the paper and its teacher's ``L^t``.

    ``L^s = L_distill + L_hidden_layers + L_hidden_pooled + CE``: soft labels; embedding output and
    hidden states of paired layers; pooled news vectors; the target. ``L^t`` is the teacher's own
    ``CE``. Gradients of paired layers are mixed: ``g^s_i <- beta g^t_i + (1 - beta) g^s_i``
    (docs/method.md, section 8).

    Our definition: the factor ``T ** 2``; the pairs under a teacher of any depth, and which of its
    layers lend momentum; the user encoder is shared too, and what is shared learns from both
    losses; each distinct news of a batch counts once in hidden states and pooled vectors. What
    frozen layers alone decide is a constant, and is not computed.

    Joint training is the one exception to the rule that a student never meets its teacher: the
    trainer holds the teacher, and puts what it makes of a batch into it, gradients included. The
    student itself holds none, and so is saved, counted and served alone.
    """

    news_encoder: NewsEncoder
    makes_teachers: ClassVar[bool] = True

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.layer_mapping = config["layer_mapping"]
        self.gradient_momentum = config["gradient_momentum"]
        weights = self._without_constants(loss_weights(config, JointWeights))
        self.distillation = JointDistillation(config["temperature"], weights)
        trained = range(self.news_encoder.first_trained + 1, self.news_encoder.depth + 1)
        self.compared = [*([0] if weights.embedding else []), *(trained if weights.hidden else [])]

    def _without_constants(self, weights: JointWeights) -> JointWeights:
        """Frozen outputs have no gradient: what compares them alone is removed."""
        encoder = self.news_encoder
        if not encoder.embeddings_train:
            weights = weights._replace(embedding=0.0)
        if encoder.first_trained == encoder.depth:
            weights = weights._replace(hidden=0.0)
            if not encoder.pooling_has_weights:
                weights = weights._replace(news_vector=0.0)
        return weights

    def make_teachers(self, config: Any, dataset: Any, count: int) -> JointTeachers:
        """Teachers for it, with the plain language model and this student's heads."""
        teachers = [JointTeacher(config, dataset) for _ in range(count)]
        return JointTeachers(
            self, teachers, self.compared, self.layer_mapping, self.gradient_momentum
        )

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted summands by name, each the mean over the batch."""
        student = observe(self, interaction, {layer: layer for layer in self.compared})
        return self.distillation(student, _observed(interaction), interaction[self.label_field])


def _observed(interaction: Interaction) -> list[Observed]:
    if TEACHERS not in interaction:
        raise ValueError(
            "NewsBERT's loss expects a batch that its teachers have seen, got one without "
            f"'{TEACHERS}'. Train it with JointTrainer, which puts it there."
        )
    return interaction[TEACHERS]
