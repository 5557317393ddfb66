"""PLM-NR after domain-specific post-training by title-body matching.

Yu et al., "Tiny-NewsRec", EMNLP 2022, section 3; the strongest of its single-teacher baselines.
"""

from __future__ import annotations

from recbole_tinynews.model.plmnr import PLMNR


class PLMNRDP(PLMNR):
    """PLM-NR whose news encoder has learnt ``L_DP`` before: the teacher's last copy, finetuned.

    It is what Tiny-NewsRec makes of its teachers, and shares their post-training; use it to see
    what post-training gives without any distillation.
    """
