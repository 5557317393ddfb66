"""Records that all readers yield: impressions and articles."""

from __future__ import annotations

from typing import NamedTuple


class Impression(NamedTuple):
    """One impression; ``labels`` as in the atomic file (``0 1 0``), '' if unlabelled."""

    impression_id: str
    user_id: str
    timestamp: int
    history: list[str]
    candidates: list[str]
    labels: str


class News(NamedTuple):
    """One article; ``published`` is UTC seconds as text, '' if unknown."""

    news_id: str
    category: str = ""
    subcategory: str = ""
    title: str = ""
    abstract: str = ""
    published: str = ""

    def filled_from(self, other: News) -> News:
        """A copy with empty fields filled from another row of this article."""
        return News(*(own if own.strip() else its for own, its in zip(self, other, strict=True)))


class NewsRow(NamedTuple):
    """An article; ``body`` is None in formats without bodies."""

    news: News
    body: str | None = None
