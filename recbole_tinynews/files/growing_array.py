"""For ``data/dataset.py`` alone, until it imports from ``files.array_cache``."""

from __future__ import annotations

from recbole_tinynews.files.array_cache import GrowingArray

__all__ = ["GrowingArray"]
