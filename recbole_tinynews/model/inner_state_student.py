"""A student that imitates what goes on inside of its teachers, and not their scores alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_tinynews.distillation.inner_states import Seen
from recbole_tinynews.distillation.layer_mapping import LayerPair, layer_pairs
from recbole_tinynews.distillation.states import NO_STATES, States, Taps
from recbole_tinynews.encoder.language_model import locate_plm, plm_size
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.student import teacher_labels


class Compared(NamedTuple):
    """What of a student and its teachers is compared.

    ``pairs`` are those whose layer of the student trains; the terms of all others are constants,
    which are neither computed nor logged.
    """

    pairs: list[LayerPair]
    embeddings_train: bool
    student_dim: int
    teacher_dim: int


class InnerStateStudent(NewsRecommender):
    """Base of students whose loss looks at hidden states and attention (docs/method.md).

    Its teachers' scores arrive with the batch as labels, their inner states of the batch's distinct
    news as ``interaction.teacher_states``; its own are tapped from the pass that makes its scores.
    A subclass says how they are compared by ``make_distillation``.
    """

    news_encoder: NewsEncoder

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.distillation: Any = self.make_distillation(config, self._compared(config))

    @staticmethod
    def number_of_teachers(config: Any) -> int:
        """M."""
        return config["num_teachers"]

    def make_distillation(self, config: Any, compared: Compared) -> nn.Module:
        """The losses: a module with ``student_taps`` and ``teacher_taps``, called on ``Seen``s."""
        raise NotImplementedError

    def _compared(self, config: Any) -> Compared:
        teacher, encoder = config.for_stage("finetune_teacher"), self.news_encoder
        size = plm_size(locate_plm(teacher["plm"], [Path(config["data_path"])]))
        pairs = layer_pairs(
            encoder.depth,
            teacher["num_hidden_layers"] or size.layers,
            config["layer_mapping"],
        )
        learning = [pair for pair in pairs if pair.student > encoder.first_trained]
        return Compared(learning, encoder.embeddings_train, encoder.hidden_size, size.hidden)

    @property
    def teacher_taps(self) -> Taps:
        """The inner states that its teachers are asked for."""
        return self.distillation.teacher_taps

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted summands by name."""
        taps = self.distillation.student_taps
        with self.news_encoder.tapped(taps) as tap:
            scores = self.score(interaction).scores
        labels = teacher_labels(interaction).scores.unbind(dim=1)
        states = teacher_states(interaction) if any(taps) else [NO_STATES] * len(labels)
        return self.distillation(
            Seen(scores, tap.states() if any(taps) else NO_STATES),
            [Seen(*each) for each in zip(labels, states, strict=True)],
            interaction[self.label_field],
        )


def teacher_states(interaction: Interaction) -> Sequence[States]:
    """The inner states that the teachers have handed over with the batch.

    Raises:
        ValueError: no teacher has.
    """
    states = vars(interaction).get("teacher_states")
    if states is None:
        raise ValueError(
            "A student's loss expects a batch with its teachers' inner states, got one without. "
            "Train it with InnerStateTrainer, or set interaction.teacher_states to "
            "TeacherEnsemble.states."
        )
    return states
