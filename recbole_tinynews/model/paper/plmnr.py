"""PLM-NR (Wu et al., SIGIR 2021): a language model as news encoder, trained on clicks."""

from __future__ import annotations

from recbole.data.interaction import Interaction
from torch import Tensor
from torch.nn import functional as F

from recbole_tinynews.distillation.loss_terms import loss_terms
from recbole_tinynews.distillation.outputs import Outputs
from recbole_tinynews.model.recommender import NewsRecommender


class PLMNR(NewsRecommender):
    """Cross entropy of the click among 1 + ``negatives`` candidates (Tiny-NewsRec's ``L_FT``)."""

    def losses(self, outputs: Outputs, interaction: Interaction) -> tuple[Tensor, ...]:
        """Mean cross entropy over the batch."""
        target = F.cross_entropy(outputs.scores, interaction[self.label_field])
        return loss_terms({"target": target})
