"""TinyBERT on news: a small recommender that imitates one large one, layer by layer.

Jiao et al., "TinyBERT: Distilling BERT for Natural Language Understanding", Findings of EMNLP 2020.
"""

from __future__ import annotations

from recbole_tinynews.distillation.tinybert import TinyBERTDistillation, TinyBERTWeights
from recbole_tinynews.model.inner_state_student import InnerStateStudent
from recbole_tinynews.settings.protocol import Settings


class TinyBERT(InnerStateStudent):
    """``L_pred + L_hidn + L_attn + L_embd + CE(z_s, y)`` under one finetuned teacher.

    Losses on soft labels, hidden states, attention scores and embedding outputs in one joint loss
    on clicks, as the authors of Tiny-NewsRec train it, under a PLM-NR that was post-trained and
    finetuned. Our definition: the target's weight of 1, layer ``m`` of the student facing layer
    ``ceil(m N / d)`` of the teacher, and means over the distinct articles of a batch.
    """

    weights = TinyBERTWeights

    @staticmethod
    def number_of_teachers(config: Settings) -> int:
        """Always one: ``num_teachers`` is for other systems."""
        return 1

    def make_distillation(self, config: Settings) -> TinyBERTDistillation:
        """TinyBERT's terms, averaged over the teachers."""
        return TinyBERTDistillation(
            self.number_of_teachers(config),
            *self.compared(config),
            temperature=config["temperature"],
            weights=self.loss_weights(config),
        )
