"""Imported once by the fork server of processes that tests start, each of which takes seconds."""

from __future__ import annotations

import gc

import recbole_tinynews.benchmark.benchmark
import recbole_tinynews.pipeline.quick_start  # noqa: F401

gc.freeze()
