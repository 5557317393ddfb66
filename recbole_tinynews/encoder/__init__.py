"""Encoders of news: language models, packing, frozen states, pooling; by words, and of users."""

from __future__ import annotations
