"""For ``data/news_text.py`` alone, until it imports from ``files.progress``."""

from __future__ import annotations

from recbole_tinynews.files.progress import progress_bar

__all__ = ["progress_bar"]
