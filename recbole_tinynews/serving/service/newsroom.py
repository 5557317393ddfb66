"""State of a service: recommenders by name, and the articles that they share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_tinynews.serving.live_counters import Added
from recbole_tinynews.serving.ranking import Ranker
from recbole_tinynews.serving.service.batches import Batches
from recbole_tinynews.serving.service.recommender import Recommender, RefusedError
from recbole_tinynews.serving.service.schema import NewsArticle, NewsChanged
from recbole_tinynews.serving.service.titles import TitleSearch


class Newsroom:
    """Recommenders and their articles.

    Args:
        rankers: by name, the default first; all have the same articles, and the same counters.
        titles: of these articles, by id.
    """

    def __init__(self, rankers: Mapping[str, Ranker], titles: Mapping[str, str]) -> None:
        self.recommenders = {name: Recommender(name, each) for name, each in rankers.items()}
        self.titles = TitleSearch()
        self.titles.add(titles)
        self._changing = asyncio.Lock()  # serialises changes: all know the same articles
        counters = (each.counters for each in rankers.values() if each.knows_time)
        self.counters = next(counters, None)
        self._events = Batches(self._add_events)

    def recommender(self, name: str | None) -> Recommender:
        """The recommender with this name (default: the first); ``RefusedError`` if unknown."""
        if name is None:
            return next(iter(self.recommenders.values()))
        if name not in self.recommenders:
            raise RefusedError(
                ("body", "recommender"),
                f"Expected {' or '.join(map(repr, self.recommenders))}, got {name!r}.",
            )
        return self.recommenders[name]

    async def put(self, news: Sequence[NewsArticle]) -> NewsChanged:
        """Add or update articles while ranking continues; ``RefusedError`` for a repeated id."""
        places: dict[str, int] = {}
        for place, article in enumerate(news):
            if article.id in places:
                raise RefusedError(
                    ("body", "news", place, "id"),
                    f"{article.id!r} occurs twice; article {places[article.id]} has it too.",
                )
            places[article.id] = place
        async with self._changing:
            changed = sum(article.id in self.titles for article in news)
            contents = [article.fields() for article in news]
            for each in self.recommenders.values():
                await asyncio.to_thread(each.ranker.add_articles, [*places], contents)
            self.titles.add({article.id: article.title for article in news})
            if self.counters is not None:
                times = {each.id: each.published for each in news if each.published is not None}
                self.counters.publish(times)
            return NewsChanged(added=len(news) - changed, changed=changed, total=len(self.titles))

    async def count(self, events: Sequence[Any]) -> Added:
        """Commit and count events; ``RefusedError`` if no recommender uses them."""
        if self.counters is None:
            raise RefusedError(
                ("body",), "No recommender here was trained with popularity: none counts events."
            )
        return await self._events.ask(events)

    def _add_events(self, asked: Sequence[Sequence[Any]]) -> list[Added]:
        assert self.counters is not None
        return [self.counters.add(events, self.titles) for events in asked]

    async def forget(self, news_id: str) -> bool:
        """Remove an article; False if the id is unknown."""
        async with self._changing:
            if news_id not in self.titles:
                return False
            for each in self.recommenders.values():
                if news_id in each.ranker:
                    await asyncio.to_thread(each.ranker.forget, [news_id])
            self.titles.remove([news_id])
            return True
