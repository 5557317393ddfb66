"""Records that every reader yields: impressions and articles."""

from __future__ import annotations

from typing import NamedTuple


class Impression(NamedTuple):
    """One display of candidates; ``labels`` as in the atomic file (``0 1 0``), '' for none."""

    impression_id: str
    user_id: str
    timestamp: int
    history: list[str]
    candidates: list[str]
    labels: str


class News(NamedTuple):
    """One article; ``published`` in UTC seconds as text, '' where unknown."""

    news_id: str
    category: str = ""
    subcategory: str = ""
    title: str = ""
    abstract: str = ""
    published: str = ""

    def filled_from(self, other: News) -> News:
        """This article, its empty fields taken from another row of it."""
        return News(*(own if own.strip() else its for own, its in zip(self, other, strict=True)))


class NewsRow(NamedTuple):
    """An article; ``body`` is None in formats without bodies."""

    news: News
    body: str | None = None
