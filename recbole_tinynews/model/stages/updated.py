"""Finished recommenders that train further on newer clicks, with their old selves as teachers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.distillation.loss_terms import Weights
from recbole_tinynews.encoder.hidden_states import NO_STATES
from recbole_tinynews.model.alignednewsrec import AlignedDistillation
from recbole_tinynews.model.interface import Outputs
from recbole_tinynews.model.matryoshka import Matryoshka
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.model.student import teachers_of
from recbole_tinynews.settings.protocol import Settings


class Updated(NewsRecommender):
    """Mixin with the losses of AlignedNewsRec, and the recommender's old self as teacher.

    They replace those of its first training: soft labels and directions of news vectors, both
    weighted by ``memory_weight``, keep it from forgetting, and the clicks are its target.
    """

    trainer_class = "DistillationTrainer"

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        memory = 1.0 if config["memory_weight"] is None else config["memory_weight"]
        self.memory = AlignedDistillation(1.0, Weights(memory, memory, 1.0))
        self.teacher_states = NO_STATES  # only outputs are compared

    def make_teachers(self, config: Settings, dataset: Any, count: int) -> None:
        """None: its teacher is finished."""

    def start_distillation(self, teachers: Sequence[Any], dataset: Any) -> None:
        """Does nothing: both share one vector space."""

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """For each size if it has several; never another class's loss, which may need states."""
        kind = Matryoshka if isinstance(self, Matryoshka) else NewsRecommender
        return kind.calculate_loss(self, interaction)

    def rotated(self, vectors: Tensor) -> Tensor:
        """Its old self's vectors, which are in its basis."""
        return vectors

    def losses(self, outputs: Outputs, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted loss terms by name, each the mean over the batch."""
        return self.memory(outputs, teachers_of(interaction), interaction[self.label_field])


@cache
def updated(model_class: type[NewsRecommender]) -> type[NewsRecommender]:
    """The class of a recommender's update; its weights and settings load as ``model_class``."""
    described = {"__module__": model_class.__module__, "__doc__": model_class.__doc__}
    return type(model_class.__name__, (Updated, model_class), described)
