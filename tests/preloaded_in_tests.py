"""Imported once by the fork server of processes that tests start, each of which takes seconds."""

from __future__ import annotations

import gc

from tiny import draw_no_training

import recbole_tinynews.benchmark.benchmark
import recbole_tinynews.quick_start  # noqa: F401

draw_no_training()
gc.freeze()
