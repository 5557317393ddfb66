"""What every process of a run imports, for a process that others are forked from.

Forked processes share its memory until they write there.
"""

from __future__ import annotations

import gc

import recbole_tinynews.quick_start  # noqa: F401

# a collection marks each object that it visits, and so would copy them all in each process
gc.freeze()
