"""The base of every recommender of impressions: scores of their candidates, and nothing else."""

from __future__ import annotations

import builtins
from typing import Any, ClassVar

from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import InputType, ModelType
from torch import Tensor

from recbole_tinynews.settings.protocol import Settings


class ImpressionRecommender(AbstractRecommender):
    """Scores the candidates of an impression for the user who saw it.

    A direct subclass has the settings of ``properties/impressions.yaml`` and of its own yaml, and
    is not trained. One that encodes texts derives from ``NewsRecommender``.

    Args:
        config: the settings.
        dataset: the training impressions, and category, subcategory and text by news id.

    Attributes:
        trainer_class: its trainer: the name of a class in ``recbole_tinynews.trainer``, or a class.
    """

    trainer_class: ClassVar[str | builtins.type] = "UntrainedTrainer"

    type = ModelType.GENERAL  # RecBole lays no further yaml over ours for this type
    input_type = InputType.LISTWISE

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__()
        self.device = config["device"]

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of every candidate of whole impressions, ``[sum of impression_size]``.

        ``interaction`` is a batch of ``ImpressionDataLoader``.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement predict(interaction).")
