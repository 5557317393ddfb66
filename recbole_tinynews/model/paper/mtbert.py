"""MT-BERT (Wu et al., Findings of ACL 2021) on news: teachers finetuned together."""

from __future__ import annotations

from recbole_tinynews.distillation.mtbert_losses import MTBERTDistillation, MTBERTWeights
from recbole_tinynews.model.student import LayerStudent
from recbole_tinynews.settings.protocol import Settings


class MTBERT(LayerStudent):
    """A student of ``CoFinetunedTeachers``, with their pooling, dense layer and user encoder.

    ``MTBERTDistillation`` has the loss. Our definition: that start, and ``TinyBERT``'s layer pairs.
    """

    weights = MTBERTWeights

    def make_distillation(self, config: Settings) -> MTBERTDistillation:
        """MT-BERT's terms, summed over the teachers."""
        return MTBERTDistillation(
            self.number_of_teachers(config),
            self.compared(config),
            config["temperature"],
            self.loss_weights(config),
            self.teacher_weighting(config),
        )
