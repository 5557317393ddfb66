"""State of a service: recommenders that answer together, articles and events that they share."""

from __future__ import annotations

import asyncio
import math
import threading
import time
import unicodedata
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from starlette.exceptions import HTTPException

from recbole_tinynews.data.atomic_files import read_news_file
from recbole_tinynews.data.popularity import LATEST
from recbole_tinynews.evaluation.rerank import ReRanking
from recbole_tinynews.files.columns import GROUPS, TITLE
from recbole_tinynews.serving.article_index import (
    FIELDS,
    IndexSnapshot,
    articles_of,
    published_in,
)
from recbole_tinynews.serving.engine import Ranked
from recbole_tinynews.serving.events import data_set_events
from recbole_tinynews.serving.live_counters import AHEAD, EARLIER, Added, LiveCounters, Moment
from recbole_tinynews.serving.ranker import Query, Ranker
from recbole_tinynews.serving.service.schema import NewsArticle, RankQuestion, TopQuestion
from recbole_tinynews.serving.store import Store, StoredArticle

Q = TypeVar("Q")
A = TypeVar("A")
Answer = dict[str, Any]
SET_CLOCK = (
    "Set its clock, or take events with a wrong time out of the store: recbole-tinynews events "
    "STORE --drop-after=TIME."
)
TEXT_ALONE = (
    "Ranked by text alone: the service's clock says {:.0f} (UTC seconds), and its counters are "
    f"known from {{}} on. {SET_CLOCK}"
)
AHEAD_OF_CLOCK = (
    "The newest counted event is of {} (UTC seconds), and the service's clock says {:.0f}. "
    f"{SET_CLOCK}"
)


class RefusedError(HTTPException):
    """A request that cannot be answered: location of the wrong field, and reason."""

    def __init__(self, where: Sequence[str | int], why: str) -> None:
        refusal = {"loc": ["body", *where], "msg": why, "type": "refused"}
        super().__init__(422, [refusal])  # type: ignore[arg-type]  # as FastAPI's own


class Batches(Generic[Q, A]):
    """Answers waiting questions together, in one call in a worker thread, for one event loop.

    No batch waits to be filled: an idle service answers at once. ``answer`` returns an answer or
    an exception for each question; beyond ``most_waiting``, questions are refused.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A | Exception]],
        most: int = 64,
        most_waiting: int = 1_000,
    ) -> None:
        self._answer, self.most, self.most_waiting = answer, most, most_waiting
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer to a question, or its exception; a 503 if too many are waiting."""
        if len(self._waiting) >= self.most_waiting:
            why = "Too many requests wait already. Try again in a second."
            raise HTTPException(503, why, {"Retry-After": "1"})
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                size = min(self.most, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(size)]
                answers: Sequence[A | Exception]
                try:
                    answers = await asyncio.to_thread(self._answer, [each for each, _ in batch])
                except Exception as problem:
                    answers = [problem] * size
                for (_, future), answer in zip(batch, answers, strict=True):
                    if future.done():  # the client has gone
                        continue
                    if isinstance(answer, Exception):
                        future.set_exception(answer)
                    else:
                        future.set_result(answer)
        finally:
            self._worker = None


class _Asked(NamedTuple):
    question: RankQuestion | TopQuestion
    query: Query
    warning: str | None


class ServedRecommender:
    """Answers waiting requests together; those of ids alone never wait for texts to be encoded."""

    def __init__(self, name: str, ranker: Ranker) -> None:
        self.name, self.ranker = name, ranker
        # by the kind of question, whether it has texts, and whether events count
        self.batches: defaultdict[tuple[type, bool, bool], Batches[_Asked, Answer]] = defaultdict(
            lambda: Batches(self._answers)
        )

    async def answer(self, question: RankQuestion | TopQuestion) -> Answer:
        """The articles, best first.

        Raises ``HTTPException``, ``RerankError`` or ``UnknownArticleError``.
        """
        asked = self._asked(question)
        history, candidates, moment, *_ = asked.query
        has_text = not all(isinstance(article, str) for article in (*history, *candidates))
        return await self.batches[type(question), has_text, moment is not None].ask(asked)

    def _asked(self, question: RankQuestion | TopQuestion) -> _Asked:
        """The query, with its moment, or a warning if the service's clock is before counters."""
        at, earliest, moment, warning = question.at, self._earliest(), None, None
        now = min(max(time.time(), 0), LATEST) if at is None else at
        if earliest is not None and now >= earliest:
            visit = {name: getattr(question, name) for name in Moment._fields[1:]}
            moment = Moment.of(now, **visit)
        elif at is not None:
            by_text = "This recommender ranks by text alone."
            why = by_text if earliest is None else EARLIER.format(earliest, math.floor(at))
            raise RefusedError(["at"], why)
        elif earliest is not None:
            warning = TEXT_ALONE.format(now, earliest)
        history, candidates = (
            [a if isinstance(a, str) else a.model_dump(exclude_none=True) for a in articles]
            for articles in (question.history, getattr(question, "candidates", []))
        )
        rerank = ReRanking.parse(question.rerank) if question.rerank else ReRanking()
        query = Query(history, candidates, moment, rerank, getattr(question, "k", 0))
        return _Asked(question, query, warning)

    def _earliest(self) -> int | None:
        """The earliest moment of its counters (UTC seconds); ``None``: it counts nothing."""
        counters, counting = self.ranker.counters, self.ranker.engine.counting
        return None if counters is None or counting is None else counters.earliest(counting)

    def warning(self) -> str | None:
        """Why the service's clock makes it rank by text alone now, if so."""
        now, earliest = time.time(), self._earliest()
        return None if now >= (earliest or 0) else TEXT_ALONE.format(now, earliest)

    def health(self) -> dict[str, Any]:
        """Name, model, limits and number of articles."""
        settings = self.ranker.settings
        return {
            "name": self.name,
            "model": settings["model_class"].rpartition(".")[2],
            "version": self.ranker.engine.identity,  # which an update changes
            "layers": settings["num_hidden_layers"],  # None: all
            "history_length": settings["history_length"],
            "news": len(self.ranker.news_ids),
            "popularity": self._earliest() is not None,
        }

    def _answers(self, asked: Sequence[_Asked]) -> Sequence[Answer | Exception]:
        """In a worker thread: an answer or an error for each request, which affects no other."""
        snapshot = self.ranker.index.snapshot  # articles may be removed meanwhile
        try:
            ranked = self.ranker.answer([each.query for each in asked], snapshot)
            return [self._explained(*pair, snapshot) for pair in zip(asked, ranked, strict=True)]
        except Exception as problem:  # of one of them, such as an article that was just removed
            if half := len(asked) // 2:  # so that most are still answered together
                return [*self._answers(asked[:half]), *self._answers(asked[half:])]
            moment = asked[0].query.moment
            if moment is None or moment.at >= (self._earliest() or 0):
                return [problem]
            try:  # events were just summed up, by another process's clock
                return self._answers([self._asked(asked[0].question)])
            except RefusedError as refused:
                return [refused]

    def _explained(self, asked: _Asked, best: list[Ranked], snapshot: IndexSnapshot) -> Answer:
        question, query, warning = asked
        weights = parts = None
        if question.click_weights:
            weights = self.ranker.click_weights(query.history, query.moment, snapshot=snapshot)
        if question.contributions and query.moment is not None and best:
            shown = [query.candidates[b.place] if query.candidates else b.candidate for b in best]
            parts = self.ranker.contributions(query._replace(candidates=shown), snapshot)
        return {
            "recommender": self.name,
            "ranked": best,
            "click_weights": weights,
            "contributions": parts,
            "warning": warning,
        }


Titles = Mapping[str, tuple[str, str]]
"""Titles by id, as they are and folded, in order of their last change."""


def find(titles: Titles, query: str, offset: int, limit: int) -> dict[str, Any]:
    """The article with this id, then titles with every word, whatever case or accents.

    The number of them all (``total``), and one page of them (``news``).
    """
    words, found = folded(query).split(), []
    for name, (_, title) in titles.items():
        if name == query or all(word in title for word in words):
            begins = all(f" {word}" in f" {title}" for word in words)
            found.append((name != query, not begins, name))
    found.sort(key=lambda match: match[:2])
    page = [name for *_, name in found[offset : offset + limit]]
    return {"total": len(found), "news": [{"id": n, "title": titles[n][0]} for n in page]}


def folded(text: str) -> str:
    """The text without case and accents."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


class ServiceState:
    """Recommenders, and what a store keeps for them; other processes may change it.

    ``rankers`` by name, the default first, get counters of the store's events, and its articles;
    ``read_at``: when events were last read (monotonic).
    """

    def __init__(self, rankers: Mapping[str, Ranker], store: Store) -> None:
        self.recommenders = {n: ServedRecommender(n, ranker) for n, ranker in rankers.items()}
        self.titles: Titles = {}  # replaced by a change: other threads may read
        self._store = store
        self._seen = 0  # sequence number of the newest change of an article
        self._following = threading.Lock()
        counting = [r.engine.counting for r in rankers.values() if r.engine.counting is not None]
        self.counters = LiveCounters(store, counting) if counting else None
        for ranker in rankers.values():
            ranker.counters = self.counters
        self._events = Batches(self._add_events)
        self._commits = Batches(self._commit)
        self.read_at = time.monotonic()

    def recommender(self, name: str | None) -> ServedRecommender:
        """The recommender with this name (default: the first); ``RefusedError`` if unknown."""
        if name is None:
            return next(iter(self.recommenders.values()))
        if name not in self.recommenders:
            raise RefusedError(
                ["recommender"],
                f"Expected {' or '.join(map(repr, self.recommenders))}, got {name!r}.",
            )
        return self.recommenders[name]

    def health(self) -> list[dict[str, Any]]:
        """What ``ServedRecommender.health`` says, the default first."""
        return [recommender.health() for recommender in self.recommenders.values()]

    def warning(self) -> str | None:
        """What is wrong with the clock of the service or of its events, if anything."""
        warnings = [recommender.warning() for recommender in self.recommenders.values()]
        now, newest = time.time(), self.counters.newest if self.counters is not None else 0
        if newest > now + AHEAD:
            warnings.append(AHEAD_OF_CLOCK.format(newest, now))
        return next(filter(None, warnings), None)

    def follow_events(self) -> None:
        """Count events that other processes committed."""
        if self.counters is not None:
            self.counters.catch_up()
        else:
            self._store.articles(self._seen)  # whether it answers
        self.read_at = time.monotonic()

    def follow_articles(self, show_progress: bool = False) -> None:
        """Take over changes of articles, of this process or another, while ranking continues."""
        with self._following:
            seen, changed = self._store.articles(self._seen)
            news = {each.id: each.fields for each in changed if each.fields is not None}
            gone = {each.id for each in changed if each.fields is None}
            for recommender in self.recommenders.values():
                index = recommender.ranker.index
                index.forget([name for name in gone if name in index])
                index.add(news, show_progress)
            kept = {n: both for n, both in self.titles.items() if n not in news and n not in gone}
            titles = {name: fields[TITLE] for name, fields in news.items()}
            self.titles = {**kept, **{n: (title, folded(title)) for n, title in titles.items()}}
            if self.counters is not None:
                times = {e.id: e.published for e in changed if e.published is not None}
                self.counters.publish(times)
            self._seen = seen

    async def put(self, news: Sequence[NewsArticle]) -> dict[str, int]:
        """Commit articles, new or changed; ``RefusedError`` for a repeated id."""
        places: dict[str, int] = {}
        for place, article in enumerate(news):
            if (first := places.setdefault(article.id, place)) != place:
                raise RefusedError(
                    ("news", place, "id"),
                    f"{article.id!r} occurs twice; article {first} has it too.",
                )
        changed = sum(article.id in self.titles for article in news)
        await self._commits.ask([StoredArticle.of(**article.model_dump()) for article in news])
        return {"added": len(news) - changed, "changed": changed, "total": len(self.titles)}

    async def forget(self, news_id: str) -> bool:
        """Remove an article; False if the id is unknown."""
        known = news_id in self.titles
        if known:
            await self._commits.ask([StoredArticle(news_id, None)])
        return known

    def _commit(self, asked: Sequence[Sequence[StoredArticle]]) -> list[None]:
        for articles in asked:
            self._store.put(articles)
        self.follow_articles()
        return [None] * len(asked)

    async def count(self, events: Sequence[Any]) -> Added:
        """Commit and count events; ``RefusedError`` if no recommender uses them."""
        if self.counters is None:
            raise RefusedError(
                [], "No recommender here was trained with popularity: none counts events."
            )
        return await self._events.ask(events)

    def _add_events(self, asked: Sequence[Sequence[Any]]) -> list[Added]:
        assert self.counters is not None
        return [self.counters.add(events, self.titles) for events in asked]


def open_state(
    rankers: Mapping[str, Ranker], store: Store, news: Path | None = None, log: Path | None = None
) -> ServiceState:
    """The state at startup, with the articles of its store, to which those of a file are added.

    Impressions of a ``log`` are added to an empty store. Raises ``ValueError`` if a file is
    damaged.
    """
    state = ServiceState(rankers, store)
    if log is not None:
        if state.counters is None:
            raise ValueError(
                "--log expects a recommender that counts events: train one with --popularity=added."
            )
        state.counters.add_past(data_set_events(log), if_empty=True)
    if state.counters is not None and store.is_temporary:
        print("events are kept in memory, until the service ends: keep them with --store=FILE")
    if news is not None:
        read = {name for ranker in rankers.values() for name in ranker.engine.reads}
        table = read_news_file(news)
        # a temporary store needs only the fields that are read
        articles = articles_of(table, read, GROUPS if store.is_temporary else FIELDS)
        times = published_in(table)
        store.put([StoredArticle.of(n, times.get(n), **each) for n, each in articles.items()])
    print("encoding articles", flush=True)
    state.follow_articles(show_progress=True)
    state.follow_events()  # encoding may have taken minutes
    if not any(ranker.news_ids for ranker in rankers.values()):
        hint = "no articles yet: name a file with --news=FILE, or send them with PUT /news"
        print(hint, flush=True)
    return state
