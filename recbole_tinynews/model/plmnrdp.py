"""PLM-NR after domain-specific post-training by title-body matching.

Yu et al., "Tiny-NewsRec", EMNLP 2022, section 3; the strongest of its single-teacher baselines.
"""

from __future__ import annotations

from recbole_tinynews.model.plmnr import PLMNR


class PLMNRDP(PLMNR):
    """``L_DP``, then ``L_FT`` from the last copy: a teacher of Tiny-NewsRec by itself."""

    pretrains_itself = True
