"""PLM-NR after domain-specific post-training by title-body matching.

Yu et al., "Tiny-NewsRec", EMNLP 2022, section 3; the strongest of its single-teacher baselines.
"""

from __future__ import annotations

from recbole_tinynews.model.plmnr import PLMNR


class PLMNRDP(PLMNR):
    """Post-training with ``L_DP``, then ``L_FT`` from the last copy of the post-trained teacher.

    Tiny-NewsRec's teachers are trained in the same way, and share its post-training: the difference
    is what distillation adds.
    """

    pretrains_itself = True
