"""The base of every recommender: scores for the candidates of impressions."""

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

    Direct subclasses are untrained, with settings from ``properties/impressions.yaml`` and their
    own yaml; ``trainer_class`` may be the name of one in ``recbole_tinynews.trainer``. Those that
    encode texts derive from ``NewsRecommender``.
    """

    trainer_class: ClassVar[str | builtins.type] = "UntrainedTrainer"

    type = ModelType.GENERAL  # for this type RecBole reads no further yaml over ours
    input_type = InputType.LISTWISE

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__()
        self.device = config["device"]

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of all candidates in an evaluation batch, ``[sum of impression_size]``."""
        raise NotImplementedError(f"{type(self).__name__} must implement predict(interaction).")
