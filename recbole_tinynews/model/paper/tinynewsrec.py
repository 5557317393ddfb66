"""Tiny-NewsRec (Yu et al., EMNLP 2022): a small recommender of several teachers, in two stages."""

from __future__ import annotations

from typing import Any

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tinynews.distillation.outputs import Outputs
from recbole_tinynews.distillation.tinynewsrec_losses import StageTwoDistillation
from recbole_tinynews.model.student import MultiTeacherStudent, is_article, teachers_of
from recbole_tinynews.settings.protocol import Settings


class TinyNewsRec(MultiTeacherStudent):
    """The student in Stage II: ``L_2 = L_FT_distill + L_FT_emb + L_FT``; finetuned teachers."""

    losses_of_stage = StageTwoDistillation

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.mask_padding_in_embedding_loss = config["mask_padding_in_embedding_loss"]

    def losses(self, outputs: Outputs, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted loss terms by name, each the mean over the batch."""
        label = interaction[self.label_field]
        real = is_article(interaction) if self.mask_padding_in_embedding_loss else None
        return self.distillation(outputs, teachers_of(interaction), label, real)
