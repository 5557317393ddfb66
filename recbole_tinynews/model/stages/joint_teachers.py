"""Teachers that share all but the language model: with one another, or with their student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_tinynews.distillation.layer_losses import LayerPair, layer_pairs
from recbole_tinynews.distillation.loss_terms import loss_terms
from recbole_tinynews.distillation.teachers import Teachers
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.model.article_reader import ReadsTitlesByPLM
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.settings.protocol import Settings


class CoFinetunedTeachers(ReadsTitlesByPLM, PLMNR):
    """PLM-NRs with shared pooling, dense layer and user encoder; the loss sums their ``L_FT``.

    MT-BERT's co-finetuning, transferred to news (our definition). The model is the first teacher,
    starts from the last post-trained checkpoint, and is evaluated; ``others`` are the rest.
    """

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        others = [PLMNR(config, dataset) for _ in range(config["num_teachers"] - 1)]
        self.others: Any = nn.ModuleList(others)
        for other in others:
            share_heads(other, self)

    @property
    def teachers(self) -> list[PLMNR]:
        """All teachers, itself first."""
        return [self, *self.others]

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Sum over teachers of the mean over the batch."""
        losses: Any = [PLMNR.calculate_loss(teacher, interaction) for teacher in self.teachers]
        return loss_terms({"target": torch.stack([loss.target for loss in losses]).sum()})


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

    @classmethod
    def layers_kept(cls, config: Settings) -> int | None:
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
            share_heads(teacher, student)
        # plain lists, so that no layer is registered under a second name
        self._layers = [_encoder(teacher).layers for teacher in teachers]
        self.pairs = layer_pairs(_encoder(student).depth, len(self._layers[0]), mapping)
        self.beta = beta

    def mix_gradients(self, student: NewsRecommender) -> None:
        """Mix the teachers' gradients into the student's, which must be complete."""
        if self.beta:
            mix_layer_gradients(_encoder(student).layers, self._layers, self.pairs, self.beta)


def share_heads(recommender: NewsRecommender, other: NewsRecommender) -> None:
    """Train the same pooling, dense layer and user encoder as another recommender."""
    encoder, others = _encoder(recommender), _encoder(other)
    encoder.pooling, encoder.dense = others.pooling, others.dense
    recommender.user_encoder = other.user_encoder


def _encoder(recommender: NewsRecommender) -> TextEncoder:
    encoder = recommender.news_encoder
    assert isinstance(encoder, OneTextEncoder), "joint training needs language models"
    return encoder.language_model
