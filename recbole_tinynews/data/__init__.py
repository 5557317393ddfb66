"""Impressions, news text and the loaders that batch them."""

from __future__ import annotations
