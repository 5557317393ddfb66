"""Imported by the fork server: the modules that processes of a run or a benchmark share.

Forked processes share its memory until they write to it.
"""

from __future__ import annotations

import gc

import recbole_tinynews.benchmark.measure
import recbole_tinynews.quick_start  # noqa: F401

# garbage collection writes to every object, and would copy them all in each process
gc.freeze()
