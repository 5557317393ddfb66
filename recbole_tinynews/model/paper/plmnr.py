"""PLM-NR (Wu et al., SIGIR 2021): a language model as news encoder, trained on clicks."""

from __future__ import annotations

from recbole_tinynews.model.article_reader import ReadsTitlesByPLM
from recbole_tinynews.model.recommender import NewsRecommender


class PLMNR(NewsRecommender):
    """Cross entropy of the click among 1 + ``negatives`` candidates (Tiny-NewsRec's ``L_FT``)."""


class PretrainedPLMNR(ReadsTitlesByPLM, PLMNR):
    """An earlier stage trains the layers that it finetunes, and as many.

    ``teacher_num_hidden_layers`` is ``num_hidden_layers`` by default.
    """


class PLMNRDP(PretrainedPLMNR):
    """``L_DP`` (title-body matching), then ``L_FT`` from the last checkpoint.

    Tiny-NewsRec (EMNLP 2022), section 3: one of its teachers by itself.
    """


class PLMNRDAPT(PretrainedPLMNR):
    """Masked-language-model training on news bodies (DAPT), then ``L_FT``.

    Gururangan et al., ACL 2020; a baseline of Tiny-NewsRec (EMNLP 2022), whose poster gives no
    details: the recipe is our definition, with the values of the reference code's pre-training.
    """


class PLMNRTAPT(PretrainedPLMNR):
    """``PLMNRDAPT`` on the data set's own texts, with more epochs (TAPT; our definition)."""
