"""Tiny-NewsRec (Yu et al., EMNLP 2022): a small recommender of several teachers, in two stages."""

from __future__ import annotations

from recbole_tinynews.distillation.tinynewsrec_losses import (
    StageTwoDistillation,
    TinyNewsRecDistillation,
)
from recbole_tinynews.model.student import MultiTeacherStudent
from recbole_tinynews.settings.protocol import Settings


class TinyNewsRec(MultiTeacherStudent):
    """The student in Stage II: ``L_2 = L_FT_distill + L_FT_emb + L_FT``; finetuned teachers."""

    def make_distillation(self, config: Settings) -> TinyNewsRecDistillation:
        """The losses of Stage II."""
        masked = config["mask_padding_in_embedding_loss"]
        return self.losses_of(StageTwoDistillation, config, masked)
