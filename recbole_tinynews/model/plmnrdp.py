"""PLM-NR after domain-specific post-training by title-body matching.

Yu et al., "Tiny-NewsRec", EMNLP 2022, section 3; the strongest of its single-teacher baselines.
"""

from __future__ import annotations

from typing import ClassVar

from recbole_tinynews.model.plmnr import PLMNR


class PLMNRDP(PLMNR):
    """PLM-NR whose news encoder was first post-trained with ``L_DP``.

    It finetunes the last copy of the post-trained teacher. Tiny-NewsRec's teachers are trained in
    the same way, and share its post-training; use it to see what post-training gives without any
    distillation.
    """

    pretrains_itself: ClassVar[bool] = True
