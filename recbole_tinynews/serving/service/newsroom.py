"""State of a service: recommenders by name, and the articles and events that they share."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_tinynews.serving.live_counters import Added
from recbole_tinynews.serving.ranking import Ranker
from recbole_tinynews.serving.reading import TITLE
from recbole_tinynews.serving.service.batches import Batches
from recbole_tinynews.serving.service.recommender import Recommender, RefusedError
from recbole_tinynews.serving.service.schema import NewsArticle, NewsChanged
from recbole_tinynews.serving.service.titles import TitleSearch
from recbole_tinynews.serving.store import Article, Store


class Newsroom:
    """Recommenders, and what a store keeps for them; other processes may change it.

    ``rankers`` by name, the default first, have the same articles and counters; ``titles`` are
    for a newsroom without ``store``; ``read_at`` is when events were last read (monotonic).
    """

    def __init__(
        self,
        rankers: Mapping[str, Ranker],
        titles: Mapping[str, str],
        store: Store | None = None,
    ) -> None:
        self.recommenders = {name: Recommender(name, each) for name, each in rankers.items()}
        self.titles = TitleSearch()
        self.titles.add(titles)
        self._store = Store() if store is None else store
        self._seen = 0  # sequence number of the newest change of an article
        self._following = threading.Lock()
        counters = (each.counters for each in rankers.values() if each.knows_time)
        self.counters = next(counters, None)
        self._events = Batches(self._add_events)
        self.read_at = time.monotonic()

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

    def follow_articles(self, show_progress: bool = False) -> None:
        """Take over changes of articles, of this process or another, while ranking continues."""
        with self._following:
            seen, changed = self._store.articles(self._seen)
            news = {each.id: each.fields for each in changed if each.fields is not None}
            gone = {each.id for each in changed if each.fields is None}
            for each in self.recommenders.values():
                each.ranker.forget([name for name in gone if name in each.ranker])
                each.ranker.add_articles([*news], news.values(), show_progress)
            self.titles.remove(gone)
            self.titles.add({name: fields[TITLE] for name, fields in news.items()})
            if self.counters is not None:
                times = {e.id: e.published for e in changed if e.published is not None}
                self.counters.publish(times)
            self._seen = seen

    def follow_events(self) -> None:
        """Count events that other processes committed."""
        if self.counters is not None:
            self.counters.catch_up()
        else:
            self._store.sequence()  # whether it answers
        self.read_at = time.monotonic()

    async def put(self, news: Sequence[NewsArticle]) -> NewsChanged:
        """Commit articles, new or changed; ``RefusedError`` for a repeated id."""
        places: dict[str, int] = {}
        for place, article in enumerate(news):
            if (first := places.setdefault(article.id, place)) != place:
                raise RefusedError(
                    ("body", "news", place, "id"),
                    f"{article.id!r} occurs twice; article {first} has it too.",
                )
        changed = sum(article.id in self.titles for article in news)
        await self._commit([Article.of(a.id, a.fields(), a.published) for a in news])
        return NewsChanged(added=len(news) - changed, changed=changed, total=len(self.titles))

    async def forget(self, news_id: str) -> bool:
        """Remove an article; False if the id is unknown."""
        known = news_id in self.titles
        if known:
            await self._commit([Article(news_id, None)])
        return known

    async def _commit(self, articles: Sequence[Article]) -> None:
        await asyncio.to_thread(self._store.put, articles)
        await asyncio.to_thread(self.follow_articles)

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
