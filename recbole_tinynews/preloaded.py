"""Modules shared by forked processes of a run or benchmark; the fork server imports this one."""

from __future__ import annotations

import gc

import recbole_tinynews.benchmark.measure
import recbole_tinynews.quick_start  # noqa: F401

# garbage collection writes to every object, so each process would copy them
gc.freeze()
