"""Teachers finetuned together, with outputs in one space (MT-BERT, Findings of ACL 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_tinynews.distillation.loss_terms import loss_terms
from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.model.article_reader import ReadsTitlesByPLM
from recbole_tinynews.model.paper.plmnr import PLMNR
from recbole_tinynews.settings.protocol import Settings


class CoFinetunedTeachers(ReadsTitlesByPLM, PLMNR):
    """PLM-NRs with shared pooling, dense layer and user encoder; the loss sums their ``L_FT``.

    MT-BERT's co-finetuning, transferred to news (our definition). The model is the first teacher,
    starts from the last post-trained checkpoint, and is evaluated; ``others`` are the rest.
    """

    news_encoder: OneTextEncoder

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        others = [PLMNR(config, dataset) for _ in range(config["num_teachers"] - 1)]
        self.others = nn.ModuleList(others)
        for other in others:
            encoder = cast("OneTextEncoder", other.news_encoder)
            encoder.language_model.share_heads_of(self.news_encoder.language_model)
            other.user_encoder = self.user_encoder

    @property
    def teachers(self) -> list[PLMNR]:
        """All teachers, itself first."""
        return [self, *cast("Iterable[PLMNR]", self.others)]

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Sum over teachers of the mean over the batch."""
        losses = [PLMNR.calculate_loss(each, interaction) for each in self.teachers]
        return loss_terms({"target": torch.stack([target for (target,) in losses]).sum()})
