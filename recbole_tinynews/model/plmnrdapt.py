"""PLM-NR after domain-adaptive pretraining of its language model.

Gururangan et al., "Don't Stop Pretraining", ACL 2020; a baseline of Tiny-NewsRec (EMNLP 2022).
"""

from __future__ import annotations

from typing import ClassVar

from recbole_tinynews.model.plmnr import PLMNR


class PLMNRDAPT(PLMNR):
    """PLM-NR whose language model was first trained on the bodies of a news corpus (DAPT).

    Masked-language-model training (``model/masked_language_model.py``), then ``L_FT`` of ``PLMNR``;
    pooling, dense layer and user encoder start random. The poster gives results and no details: the
    recipe is our definition, with the values of the reference code's further pre-training.
    """

    pretrains_itself: ClassVar[bool] = True
