"""PLM-NR: a language model as news encoder, trained on clicks.

Wu et al., "Empowering News Recommendation with Pre-trained Language Models", SIGIR 2021.
"""

from __future__ import annotations

from typing import NamedTuple

from recbole.data.interaction import Interaction
from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.distillation.outputs import Outputs
from recbole_tinynews.model.recommender import NewsRecommender


class PLMNRLoss(NamedTuple):
    """The loss of finetuning."""

    target: Tensor


class PLMNR(NewsRecommender):
    """Cross entropy of the clicked article among 1 + ``negatives`` candidates of its impression.

    ``L_FT`` of Tiny-NewsRec (EMNLP 2022), where PLM-NR is teacher, baseline and start.
    """

    def losses(self, outputs: Outputs, interaction: Interaction) -> tuple[Tensor, ...]:
        """Mean cross entropy over the batch."""
        return PLMNRLoss(F.cross_entropy(outputs.click_scores, interaction[self.label_field]))
