"""A student that imitates the hidden states and attention of its teachers, beside their scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.distillation.layer_mapping import LayerPair, layer_pairs
from recbole_tinynews.encoder.language_model import locate_plm, plm_size
from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.model.student import Student


class Compared(NamedTuple):
    """What of a student and its teachers is compared.

    ``pairs`` are those whose layer of the student trains; the terms of all others are constants,
    which are neither computed nor logged.
    """

    pairs: list[LayerPair]
    embeddings_train: bool
    student_dim: int
    teacher_dim: int


class InnerStateStudent(Student):
    """Base of students whose loss looks at hidden states and attention (docs/method.md).

    Its own are tapped from the pass that makes its scores; its teachers' come with their scores.
    """

    news_encoder: NewsEncoder

    @staticmethod
    def teacher_config(config: Any) -> Any:
        """The settings of its teachers."""
        return config.for_stage("finetune_teacher")

    def compared(self, config: Any) -> Compared:
        """The layers that its losses compare, and their widths."""
        teacher, encoder = self.teacher_config(config), self.news_encoder
        size = plm_size(locate_plm(teacher["plm"], [Path(config["data_path"])]))
        pairs = layer_pairs(
            encoder.depth,
            teacher["num_hidden_layers"] or size.layers,
            config["layer_mapping"],
        )
        learning = [pair for pair in pairs if pair.student > encoder.first_trained]
        return Compared(learning, encoder.embeddings_train, encoder.hidden_size, size.hidden)

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted summands by name, each the mean over the batch."""
        return self.losses(self.score(interaction, self.distillation.student_taps), interaction)
