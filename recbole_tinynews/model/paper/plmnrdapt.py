"""PLM-NR after domain-adaptive pretraining (Gururangan et al., ACL 2020)."""

from __future__ import annotations

from recbole_tinynews.model.paper.plmnr import PLMNR


class PLMNRDAPT(PLMNR):
    """Masked-language-model training on news bodies (DAPT), then ``L_FT`` with random heads.

    A baseline of Tiny-NewsRec (EMNLP 2022), whose poster gives no details: the recipe is our
    definition, with the values of the reference code's further pre-training.
    """

    pretrains_itself = True
