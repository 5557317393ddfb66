"""What the processes of a run, or of a benchmark, import: for the one that they are forked from.

They share its memory until they write there.
"""

from __future__ import annotations

import gc

import recbole_tinynews.benchmark.measure
import recbole_tinynews.quick_start  # noqa: F401

# a collection marks each object that it visits, and so would copy them all in each process
gc.freeze()
