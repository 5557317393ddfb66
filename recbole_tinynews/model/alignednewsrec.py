"""AlignedNewsRec, our own system (docs/method.md, section 12; evidence in docs/results.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.data.fields import CANDIDATES, HISTORY
from recbole_tinynews.data.training_news import TrainingNews
from recbole_tinynews.distillation.aligned import AlignedDistillation, AlignedWeights
from recbole_tinynews.distillation.outputs import Outputs
from recbole_tinynews.model.student import Student, teachers_of
from recbole_tinynews.settings.protocol import Settings


class AlignedNewsRec(Student):
    """A student on clicks that starts with its finetuned teachers' user encoder.

    Pretrained heads (``head_init``) share the language model's space, so no projections are needed:
    ``NewsAligner`` on all articles first, then soft labels over (nearly) whole impressions.
    """

    weights = AlignedWeights
    needs_language_model = True

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require vectors in one common space."""
        yield from super().conflicting_settings(config, prefix)
        teachers = config.for_stage(cls.teacher_stage)
        for name, value in (("head_init", "pretrained"), ("news_dim", teachers["news_dim"])):
            for given, stage in ((config[name], prefix), (teachers[name], f"{cls.teacher_stage}_")):
                if given != value:
                    yield (
                        f"{stage}{name}={given} expects {value} in {cls.__name__}, whose vectors "
                        f"lie in its teachers' space. Set {stage}{name}={value}"
                    )

    def make_distillation(self, config: Settings) -> AlignedDistillation:
        """Soft labels, directions of news vectors, and the target."""
        return AlignedDistillation(config["temperature"], self.loss_weights(config))

    def losses(self, outputs: Outputs, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted loss terms by name, each the mean over the batch."""
        real = torch.cat([interaction[HISTORY], interaction[CANDIDATES]], dim=1) != 0
        return self.distillation(
            outputs, teachers_of(interaction), interaction[self.label_field], real
        )


class NewsAligner(AlignedNewsRec):
    """The stage before: trained on all articles of the training impressions, without clicks."""

    reads: ClassVar[Any] = TrainingNews
