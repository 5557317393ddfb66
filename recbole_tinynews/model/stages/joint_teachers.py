"""Teachers trained jointly with their student; they share everything but the language model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from recbole_tinynews.distillation.layer_losses import LayerPair, layer_pairs
from recbole_tinynews.distillation.teachers import Teachers
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.settings.protocol import Settings


@torch.no_grad()
def mix_layer_gradients(
    student: Sequence[nn.Module],
    teachers: Sequence[Sequence[nn.Module]],
    pairs: Sequence[LayerPair],
    beta: float,
) -> None:
    """``g^s_i <- beta g^t_i + (1 - beta) g^s_i`` in place, for the gradients of each layer.

    NewsBERT (Wu et al., Findings of EMNLP 2021). ``g^t_i`` is the mean over layers
    ``g(i-1) + 1 .. g(i)`` of all teachers that have gradients; without any, or without one of the
    student's, nothing changes (our definition). Layers are built alike, ``pairs`` in order.
    """
    before = 0
    for layer, pair in zip(student, pairs, strict=True):
        belonging = [each for layers in teachers for each in layers[before : pair.teacher]]
        before = pair.teacher
        for name, parameter in layer.named_parameters():
            found = [each.get_parameter(name).grad for each in belonging]
            gradients = [gradient for gradient in found if gradient is not None]
            if parameter.grad is not None and gradients:
                parameter.grad.lerp_(torch.stack(gradients).mean(dim=0), beta)


class JointTeacher(NewsRecommender):
    """A teacher with the post-trained one's language model and depth."""

    def layers_kept(self, config: Settings) -> int | None:
        """Number of layers of the post-trained teacher."""
        return config.for_stage("post_train_teacher")["num_hidden_layers"]


class JointTeachers(Teachers):
    """Teachers with their student's pooling, dense layer and user encoder (NewsBERT, NewsBERT-MT).

    Only the student is saved and served. ``mapping`` pairs layers (``layer_pairs``); ``beta``
    weights the teachers' gradients (``mix_layer_gradients``), 0: no momentum. Nothing is encoded
    ahead, since vectors and states change with every step.
    """

    def __init__(
        self,
        student: NewsRecommender,
        teachers: Sequence[NewsRecommender],
        mapping: str,
        beta: float,
    ) -> None:
        super().__init__(teachers)
        for teacher in teachers:
            _encoder(teacher).share_heads_of(_encoder(student))
            teacher.user_encoder = student.user_encoder
        # plain lists, so that no layer is registered under a second name
        self._layers = [_encoder(teacher).layers for teacher in teachers]
        self.pairs = layer_pairs(_encoder(student).depth, len(self._layers[0]), mapping)
        self.beta = beta

    def mix_gradients(self, student: NewsRecommender) -> None:
        """Mix the teachers' gradients into the student's, which must be complete."""
        if self.beta:
            mix_layer_gradients(_encoder(student).layers, self._layers, self.pairs, self.beta)


def _encoder(recommender: NewsRecommender) -> TextEncoder:
    encoder = recommender.news_encoder
    assert isinstance(encoder, OneTextEncoder), "joint training needs language models"
    return encoder.language_model
