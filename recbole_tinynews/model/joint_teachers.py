"""Teachers trained jointly with their student; they share everything but the language model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from recbole.data.interaction import Interaction
from torch import nn

from recbole_tinynews.distillation.hidden import LayerPair, layer_pairs
from recbole_tinynews.distillation.outputs import Outputs, Teachers
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.encoder.states import NO_TAPS, Taps
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.settings.protocol import Settings


@torch.no_grad()
def add_momentum(
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
    weights the teachers' gradients (``add_momentum``), 0: no momentum. Nothing is encoded ahead,
    since vectors and states change with every step.
    """

    def __init__(
        self,
        student: NewsRecommender,
        teachers: Sequence[NewsRecommender],
        mapping: str,
        beta: float,
    ) -> None:
        super().__init__()
        for teacher in teachers:
            _encoder(teacher).share_heads_of(_encoder(student))
            teacher.user_encoder = student.user_encoder
        self.members = nn.ModuleList(teachers)
        # plain lists, so that no layer is registered under a second name
        self._layers = [_encoder(teacher).layers for teacher in teachers]
        self.pairs = layer_pairs(_encoder(student).depth, len(self._layers[0]), mapping)
        self.beta = beta

    def outputs(self, batch: Interaction, taps: Taps = NO_TAPS) -> list[Outputs]:
        """Outputs of each teacher for a training batch, with gradients."""
        members = cast("Iterable[NewsRecommender]", self.members)
        return [teacher.score(batch, taps) for teacher in members]

    def lend_momentum(self, student: NewsRecommender) -> None:
        """Mix the teachers' gradients into the student's, which must be complete."""
        if self.beta:
            add_momentum(_encoder(student).layers, self._layers, self.pairs, self.beta)


def _encoder(recommender: NewsRecommender) -> TextEncoder:
    encoder = recommender.news_encoder
    assert isinstance(encoder, NewsEncoder), "joint training needs language models"
    return encoder.text_encoder
