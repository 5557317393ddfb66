"""What every reader of a format yields: impressions, and articles with their places."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from recbole_tinynews.convert.errors import LineError

OnBadLine = Callable[[LineError], None]


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
        """This article, with the fields that are empty as another row of it has them."""
        return News(*(own if own.strip() else its for own, its in zip(self, other, strict=True)))


class NewsRow(NamedTuple):
    """An article and its line number; ``body`` is None in formats without bodies."""

    line: int
    news: News
    body: str | None = None


class BodyRow(NamedTuple):
    """A body and its line number."""

    line: int
    news_id: str
    body: str
