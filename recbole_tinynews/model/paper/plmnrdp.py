"""PLM-NR after domain-specific post-training by title-body matching (Tiny-NewsRec, section 3)."""

from __future__ import annotations

from recbole_tinynews.model.paper.plmnr import PLMNR


class PLMNRDP(PLMNR):
    """``L_DP``, then ``L_FT`` from the last copy: a teacher of Tiny-NewsRec by itself."""

    pretrains_itself = True
