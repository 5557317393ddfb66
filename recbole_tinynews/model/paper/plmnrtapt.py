"""PLM-NR after task-adaptive pretraining (Gururangan et al., ACL 2020)."""

from __future__ import annotations

from recbole_tinynews.model.paper.plmnr import PLMNR


class PLMNRTAPT(PLMNR):
    """``PLMNRDAPT`` on the data set's own texts, with more epochs (TAPT; our definition)."""

    pretrains_itself = True
