"""Imported once by the fork server of processes that tests start."""

from __future__ import annotations

import gc

from tiny import draw_no_training

import recbole_tinynews.preloaded  # noqa: F401

draw_no_training()
gc.freeze()
