"""PLM-NR after task-adaptive pretraining of its language model.

Gururangan et al., "Don't Stop Pretraining", ACL 2020; a baseline of Tiny-NewsRec (EMNLP 2022).
"""

from __future__ import annotations

from typing import ClassVar

from recbole_tinynews.model.plmnr import PLMNR


class PLMNRTAPT(PLMNR):
    """PLM-NR whose language model was first trained on the data set's own articles (TAPT).

    Trained like ``PLMNRDAPT``, but on the title and abstract of the data set's articles, and
    in more passes, as these are few. The poster gives results and no details: the recipe is our
    definition.
    """

    pretrains_itself: ClassVar[bool] = True
