"""TinyBERT (Jiao et al., Findings of EMNLP 2020) on news, under one teacher or several."""

from __future__ import annotations

from recbole_tinynews.distillation.tinybert_losses import TinyBERTDistillation, TinyBERTWeights
from recbole_tinynews.model.student import LayerStudent
from recbole_tinynews.settings.protocol import Settings


class TinyBERT(LayerStudent):
    """``L_pred + L_hidn + L_attn + L_embd + CE(z_s, y)`` under one finetuned teacher.

    One joint loss on clicks, as Tiny-NewsRec's authors train it. Our definition: the target has
    weight 1, layer pairs ``(m, ceil(m N / d))``, and means over distinct articles.
    """

    weights = TinyBERTWeights
    one_teacher = True

    def make_distillation(self, config: Settings) -> TinyBERTDistillation:
        """TinyBERT's terms, averaged over the teachers."""
        number, compared = self.number_of_teachers(config), self.compared(config)
        weights = self.loss_weights(config)
        return TinyBERTDistillation(number, compared, config["temperature"], weights)


class TinyBERTMT(TinyBERT):
    """``(1/M) sum_i L_distillation(student, t_i) + CE(z_s, y)``; the mean is our definition.

    A baseline of Tiny-NewsRec (EMNLP 2022), with several teachers.
    """

    one_teacher = False
