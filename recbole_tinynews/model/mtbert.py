"""MT-BERT on news: several teachers finetuned together, and a student that learns from all.

Wu et al., "One Teacher is Enough? Pre-trained Language Model Distillation from Multiple Teachers",
Findings of ACL 2021.
"""

from __future__ import annotations

from recbole_tinynews.distillation.mtbert import MTBERTDistillation, MTBERTWeights
from recbole_tinynews.model.inner_state_student import InnerStateStudent
from recbole_tinynews.settings.protocol import Settings


class MTBERT(InnerStateStudent):
    """``sum_i [mean(CE(y_i/T, y_s/T) / (1 + CE(y_i, y))) + MSE(H_s, W_i H_ti)] + CE(y_s, y)``.

    MT-BERT's multi-teacher hidden and distillation losses, after a public re-implementation. The
    student starts with the pooling, dense layer and user encoder of its ``CoFinetunedTeachers``.
    Our definition: that start, the layer pairs of ``TinyBERT``, and one ``W`` per teacher and pair.
    """

    weights = MTBERTWeights

    def make_distillation(self, config: Settings) -> MTBERTDistillation:
        """MT-BERT's terms, summed over the teachers."""
        compared = self.compared(config)
        return MTBERTDistillation(
            self.number_of_teachers(config),
            compared.pairs,
            compared.student_dim,
            compared.teacher_dim,
            temperature=config["temperature"],
            weights=self.loss_weights(config),
            weighting=self.teacher_weighting(config),
        )
