"""The titles of the articles that a service knows, and a search over them."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Titled(NamedTuple):
    """An article's title, and what a search compares."""

    title: str
    folded: str


class Found(NamedTuple):
    """How many articles match, and those that were asked for as (id, title)."""

    total: int
    articles: list[tuple[str, str]]


class TitleSearch:
    """Titles by id. Threads may share it: a change makes a new mapping, and readers keep theirs."""

    def __init__(self) -> None:
        self._titles: Mapping[str, Titled] = {}
        self._changing = threading.Lock()

    def __len__(self) -> int:
        return len(self._titles)

    def __contains__(self, news_id: str) -> bool:
        return news_id in self._titles

    def title(self, news_id: str) -> str:
        """The title, or nothing if the article has just been removed."""
        titled = self._titles.get(news_id)
        return titled.title if titled else ""

    def add(self, titles: Mapping[str, str]) -> None:
        """Add articles, or change the title of those that are there."""
        made = {name: Titled(title, folded(title)) for name, title in titles.items()}
        with self._changing:
            self._titles = {**self._titles, **made}

    def remove(self, ids: Iterable[str]) -> None:
        """Remove articles that are there."""
        gone = set(ids)
        with self._changing:
            self._titles = {name: each for name, each in self._titles.items() if name not in gone}

    def find(self, query: str, offset: int, limit: int) -> Found:
        """Articles whose title has every word of the query, and first the one whose id it is.

        Case and accents don't matter. Titles in which the query's words begin words come before
        those in which they stand inside others.
        """
        titles, words = self._titles, folded(query).split()
        exact = [query] if query in titles else []
        begin: list[str] = []
        inside: list[str] = []
        for name, (_, title) in titles.items():
            if name != query and all(word in title for word in words):
                starts = all(f" {word}" in f" {title}" for word in words)
                (begin if starts else inside).append(name)
        found = [*exact, *begin, *inside]
        return Found(
            len(found), [(name, titles[name].title) for name in found[offset : offset + limit]]
        )


def folded(text: str) -> str:
    """Without case and accents.

    >>> folded("Élysée ÅRHUS")
    'elysee arhus'
    """
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in apart if not unicodedata.combining(letter))
