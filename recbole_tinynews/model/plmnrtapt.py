"""PLM-NR after task-adaptive pretraining of its language model.

Gururangan et al., "Don't Stop Pretraining", ACL 2020; a baseline of Tiny-NewsRec (EMNLP 2022).
"""

from __future__ import annotations

from recbole_tinynews.model.plmnr import PLMNR


class PLMNRTAPT(PLMNR):
    """``PLMNRDAPT`` on the data set's own titles and abstracts, with more epochs (TAPT).

    The poster gives no details: the recipe is our definition.
    """

    pretrains_itself = True
