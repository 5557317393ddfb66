"""Ids in, vectors out: language models, packing, frozen states, pooling, user encoders."""

from __future__ import annotations
