"""State of a service: recommenders by name, and the articles and events that they share."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_tinynews.serving.live_counters import AHEAD, Added
from recbole_tinynews.serving.news_index import OtherRecommenderError
from recbole_tinynews.serving.news_table import articles_of, published_in, read_news_file
from recbole_tinynews.serving.ranking import Ranker
from recbole_tinynews.serving.reading import FIELDS, TITLE, title_of
from recbole_tinynews.serving.service.batches import Batches
from recbole_tinynews.serving.service.recommender import Recommender, RefusedError
from recbole_tinynews.serving.service.schema import NewsArticle, NewsChanged
from recbole_tinynews.serving.service.titles import TitleSearch
from recbole_tinynews.serving.store import Article, Store

AHEAD_OF_CLOCK = (
    "The newest counted event is of {} (UTC seconds), and the service's clock says {:.0f}. Set its "
    "clock, or take events with a wrong time out of the store: recbole-tinynews events STORE "
    "--drop-after=TIME."
)


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

    def warning(self) -> str | None:
        """What is wrong with the clock of the service or of its events, if anything."""
        warnings = [each.warning() for each in self.recommenders.values()]
        now, newest = time.time(), self.counters.newest if self.counters is not None else 0
        if newest > now + AHEAD:
            warnings.append(AHEAD_OF_CLOCK.format(newest, now))
        return next(filter(None, warnings), None)

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


def open_newsroom(
    rankers: Mapping[str, Ranker], store: Store, news: Path | None, indexes: Sequence[Path]
) -> Newsroom:
    """A newsroom at startup, with the articles of its store, to which those of a file are added.

    ``indexes`` (one per ranker, or none) cache vectors, and are brought up to date; without
    ``news``, articles that all of them have are served too. Raises ``ValueError`` if they differ,
    or a file is damaged.
    """
    if news is not None:
        read = {name for each in rankers.values() for name in each.reading.fields}
        _store_news(store, news, read if store.is_temporary else FIELDS)
    kept = {each.id for each in store.articles()[1] if each.fields is not None}
    files: Sequence[Path | None] = indexes or [None] * len(rankers)
    for ranker, index in zip(rankers.values(), files, strict=True):
        if index is not None and (not kept or index.exists()):
            _load_index(ranker, index, can_encode=bool(kept))
    titles = _common_titles(rankers, may_differ=bool(kept)) if news is None else {}
    before = []
    for ranker in rankers.values():
        before.append(ranker.shelf)
        ranker.forget([each for each in ranker.news_ids if each not in kept and each not in titles])
    room = Newsroom(rankers, titles, store)
    if kept:
        print(f"{len(kept):,} articles, encoding those without vectors", flush=True)
    room.follow_articles(show_progress=True)
    for (name, ranker), index, old in zip(rankers.items(), files, before, strict=True):
        print(f"{name}: {len(ranker.news_ids):,} articles", flush=True)
        if index is not None and ranker.shelf is not old:
            ranker.save_index(index)
    return room


def _store_news(store: Store, news: Path, fields: Collection[str]) -> None:
    table = read_news_file(news)
    known, published = {each.id: each for each in store.articles()[1]}, published_in(table)
    given = []
    for name, content in zip(*articles_of(table, fields), strict=True):
        old = known.get(name, Article(name, None))
        new = Article.of(name, content, published.get(name, old.published))
        given += [new] if new != old else []
    store.put(given)


def _load_index(ranker: Ranker, index: Path, can_encode: bool) -> None:
    try:
        ranker.load_index(index)
    except OtherRecommenderError:
        if not can_encode:
            raise
        print(f"{index} has the vectors of another recommender: it is rebuilt")


def _common_titles(rankers: Mapping[str, Ranker], may_differ: bool) -> dict[str, str]:
    """Titles of the articles that all rankers have; ``ValueError`` if some have others too."""
    first, *others = rankers.values()
    common = set(first.news_ids).intersection(*(other.news_ids for other in others))
    if not may_differ and any(len(each.news_ids) > len(common) for each in rankers.values()):
        raise ValueError(
            "The indexes of several recommenders expect the same articles, and have different "
            "ones. Pass the articles that all of them should know: --news=FILE."
        )
    ids = [each for each in first.news_ids if each in common]
    return dict(zip(ids, map(title_of, first.titles(ids)), strict=True))
