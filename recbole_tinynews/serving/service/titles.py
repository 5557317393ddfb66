"""Titles of a service's articles, with search."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Titled(NamedTuple):
    """An article's title and its form for searching."""

    title: str
    folded: str


class Found(NamedTuple):
    """Number of matches, and one page of them as (id, title)."""

    total: int
    articles: list[tuple[str, str]]


class TitleSearch:
    """Titles by id. A change replaces the mapping, so other threads may read meanwhile."""

    def __init__(self) -> None:
        self._titles: Mapping[str, Titled] = {}

    def __len__(self) -> int:
        return len(self._titles)

    def __contains__(self, news_id: object) -> bool:
        return news_id in self._titles

    def title(self, news_id: str) -> str:
        """The title; empty if the article was just removed."""
        titled = self._titles.get(news_id)
        return titled.title if titled else ""

    def add(self, titles: Mapping[str, str]) -> None:
        """Add articles, or change their titles."""
        made = {name: Titled(title, folded(title)) for name, title in titles.items()}
        kept = {name: titled for name, titled in self._titles.items() if name not in made}
        self._titles = {**kept, **made}  # in order of their last change, as in the store

    def remove(self, ids: Iterable[str]) -> None:
        """Remove articles."""
        gone = set(ids)
        self._titles = {name: titled for name, titled in self._titles.items() if name not in gone}

    def find(self, query: str, offset: int, limit: int) -> Found:
        """The article with this id, then titles with every word, whatever case or accents."""
        titles, words = self._titles, folded(query).split()
        exact = [query] if query in titles else []
        begin: list[str] = []
        inside: list[str] = []
        for name, (_, title) in titles.items():
            if name != query and all(word in title for word in words):
                starts = all(f" {word}" in f" {title}" for word in words)
                (begin if starts else inside).append(name)
        page = [*exact, *begin, *inside][offset : offset + limit]
        total = len(exact) + len(begin) + len(inside)
        return Found(total, [(name, titles[name].title) for name in page])


def folded(text: str) -> str:
    """The text without case and accents.

    >>> folded("Élysée ÅRHUS")
    'elysee arhus'
    """
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in apart if not unicodedata.combining(letter))
