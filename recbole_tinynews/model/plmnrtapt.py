"""PLM-NR after task-adaptive pretraining of its language model.

Gururangan et al., "Don't Stop Pretraining", ACL 2020; a baseline of Tiny-NewsRec (EMNLP 2022).
"""

from __future__ import annotations

from recbole_tinynews.model.plmnr import PLMNR


class PLMNRTAPT(PLMNR):
    """PLM-NR whose language model has read the task's own news before (TAPT).

    As ``PLMNRDAPT``, on title and abstract of each news of the data set, in more passes, as these
    are few. The poster gives results and no details: the recipe is our definition.
    """
