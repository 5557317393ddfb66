"""TinyBERT on news: a small recommender that imitates one large one, layer by layer.

Jiao et al., "TinyBERT: Distilling BERT for Natural Language Understanding", Findings of EMNLP 2020.
"""

from __future__ import annotations

from recbole_tinynews.distillation.tinybert import TinyBERTDistillation, TinyBERTWeights
from recbole_tinynews.model.inner_state_student import InnerStateStudent
from recbole_tinynews.settings.protocol import Settings


class TinyBERT(InnerStateStudent):
    """``L_pred + L_hidn + L_attn + L_embd + CE(z_s, y)`` under one finetuned teacher.

    Soft labels, hidden states, attention scores and embedding outputs in one joint loss on clicks,
    as Tiny-NewsRec's authors train it, under a post-trained and finetuned PLM-NR. Our definition:
    the target's weight of 1, layer pairs ``(m, ceil(m N / d))``, and means over distinct articles.
    """

    weights = TinyBERTWeights

    @staticmethod
    def number_of_teachers(config: Settings) -> int:
        """Always 1; ``num_teachers`` is ignored."""
        return 1

    def make_distillation(self, config: Settings) -> TinyBERTDistillation:
        """TinyBERT's terms, averaged over the teachers."""
        return TinyBERTDistillation(
            self.number_of_teachers(config),
            *self.compared(config),
            temperature=config["temperature"],
            weights=self.loss_weights(config),
        )
