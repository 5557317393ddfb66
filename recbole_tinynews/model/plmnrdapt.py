"""PLM-NR after domain-adaptive pretraining of its language model.

Gururangan et al., "Don't Stop Pretraining", ACL 2020; a baseline of Tiny-NewsRec (EMNLP 2022).
"""

from __future__ import annotations

from recbole_tinynews.model.plmnr import PLMNR


class PLMNRDAPT(PLMNR):
    """Masked-language-model training on the bodies of a news corpus (DAPT), then ``L_FT``.

    Pooling, dense layer and user encoder start random. The poster gives no details: the recipe is
    our definition, with the values of the reference code's further pre-training.
    """

    pretrains_itself = True
