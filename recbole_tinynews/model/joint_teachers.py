"""Teachers that train together with their student, and share all but the language model with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recbole.data.interaction import Interaction
from torch import nn

from recbole_tinynews.distillation.layer_mapping import layer_pairs
from recbole_tinynews.distillation.momentum import add_momentum
from recbole_tinynews.distillation.newsbert import Observed
from recbole_tinynews.distillation.states import Taps
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.model.recommender import NewsRecommender


class JointTeacher(NewsRecommender):
    """As deep as the post-trained teacher, whose language model it is to start with."""

    def layers_kept(self, config: Any) -> int | None:
        """All of the post-trained teacher's."""
        return config.for_stage("post_train_teacher")["num_hidden_layers"]


class JointTeachers(nn.Module):
    """One or more teachers with the pooling, dense layer and user encoder of their student.

    NewsBERT (Wu et al., Findings of EMNLP 2021); several are NewsBERT-MT. They hang in the trainer,
    and only for as long as it trains: the student alone is saved and served.

    Args:
        student: whose heads become the teachers' own.
        teachers: as deep as each other.
        compared: layers of the student whose outputs imitate; 0 is the embedding output.
        mapping: ``uniform`` or ``last``, which layers belong together (``layer_pairs``).
        beta: of the momentum; 0: none.
    """

    def __init__(
        self,
        student: NewsRecommender,
        teachers: Sequence[NewsRecommender],
        compared: Sequence[int],
        mapping: str,
        beta: float,
    ) -> None:
        super().__init__()
        for teacher in teachers:
            _encoder(teacher).share_heads_of(_encoder(student))
            teacher.user_encoder = student.user_encoder
        self.members = nn.ModuleList(teachers)
        # plain lists, so that no layer is a part of this module by a second name
        self._layers = [_encoder(teacher).layers for teacher in teachers]
        self.pairs = layer_pairs(_encoder(student).depth, len(self._layers[0]), mapping)
        teacher_of = {0: 0, **dict(self.pairs)}
        self.layers = {layer: teacher_of[layer] for layer in compared}
        self.beta = beta

    def observe(self, interaction: Interaction) -> list[Observed]:
        """What each teacher makes of a training batch, with gradients."""
        return [observe(teacher, interaction, self.layers) for teacher in self.members]

    def lend_momentum(self, student: NewsRecommender) -> None:
        """Bend the student's complete gradients towards those of the teachers."""
        if self.beta:
            add_momentum(_encoder(student).layers, self._layers, self.pairs, self.beta)


def _encoder(recommender: NewsRecommender) -> NewsEncoder:
    encoder = recommender.news_encoder
    assert isinstance(encoder, NewsEncoder), "joint training is of language models"
    return encoder


def observe(recommender: Any, interaction: Interaction, layers: Mapping[int, int]) -> Observed:
    """Score a training batch, and keep what is compared on the way: one forward pass for both.

    Args:
        recommender: student or teacher.
        interaction: the batch.
        layers: for each layer of the student that imitates, the one of ``recommender``.
    """
    with recommender.news_encoder.tapped(Taps(hidden=frozenset(layers.values()))) as tap:
        scored = recommender.score(interaction)
    states = tap.states()
    hidden = {layer: states.hidden[own] for layer, own in layers.items()}
    return Observed(scored.scores, scored.user, states.ids, hidden, states.pooled)
