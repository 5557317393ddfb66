"""Encoders of news and users: language models, packing, frozen states, pooling."""

from __future__ import annotations
