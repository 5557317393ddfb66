"""Metrics per impression, and how RecBole reaches them."""

from __future__ import annotations
