"""Ranks news articles with a finished recommender."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import accumulate, pairwise
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.evaluation.rerank import VECTORS, Candidates, ReRanking
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.serving.article_index import (
    ArticleIndex,
    Given,
    IndexSnapshot,
    Resolved,
    UnknownArticleError,
    articles_of,
    check_fields,
    name_of,
    published_in,
)
from recbole_tinynews.serving.engine import NOT_A_NUMBER, Engine, Ranked, best_first, best_rows
from recbole_tinynews.serving.live_counters import Added, LiveCounters, Moment
from recbole_tinynews.serving.rank_table import rank_table as _rank_table

USERS_AT_ONCE = 256
SCORES_AT_ONCE = 32_000_000  # users times articles: 128 MB
COUNTERS_OF_A_SCORE = 20  # about: age and two per window, and as many for the context
POOL, LEAST_POOL, MOST_POOL = 10, 100, 1_000  # articles that `top` re-ranks: per wanted; bounds
# terms of a score; freshness depends on the article's age, the last on this reader
PARTS = ("text", "popularity", "freshness", "reader")


class Query(NamedTuple):
    """A reader's clicks, oldest first, and candidates to rank (of ``top``: ``k``, all added)."""

    history: list[Given]
    candidates: list[Given]
    moment: Moment | None = None
    rerank: ReRanking = ReRanking()
    k: int = 0
    leave_out_clicked: bool = True

    @property
    def page(self) -> str:
        """Id of the article whose page the reader is on, empty if unknown."""
        return "" if self.moment is None else self.moment.page

    @property
    def pool(self) -> int:
        """Number of best articles of which ``k`` are left after re-ranking."""
        if not self.rerank:
            return self.k
        removes_read = any(each.name == "already_read" for each in self.rerank)
        wanted = max(min(max(POOL * self.k, LEAST_POOL), MOST_POOL), self.k)
        return wanted + len(self.history) * removes_read + len(self.rerank.ids_of("excluded"))


class Ranker:
    """Ranks candidates for users by their clicks; ``recbole_tinynews.load`` creates it.

    Scores equal those of evaluation in fp32, but for pages of articles that are not in ``.item``:
    training reads an empty text, and a ranker no page. Vectors of added articles and the last
    ``CACHED_VECTORS`` others stay in memory. Thread-safe.

    An article is the id of an added one, or a mapping of fields (``title``, ``abstract``, ``body``,
    ``category``, ``subcategory``, ``source``, optionally ``id``); before any is added, a text is a
    title. Unread fields are ignored, missing ones are empty; an unknown category counts as none.
    ``counters``: clicks and exposures up to now; ``None``: not counted.
    """

    counters: LiveCounters | None = None
    rank_table = _rank_table

    def __init__(self, engine: Engine) -> None:
        self.engine, self.settings = engine, engine.settings
        self.index = ArticleIndex(engine)

    def rank(
        self,
        history: Any,
        candidates: Any,
        *,
        ids: bool | None = None,
        rerank: Sequence[Any] = (),
        **moment: Any,
    ) -> Any:
        """Candidates from best to worst; equal scores keep the given order.

        Args:
            history: the user's clicks, oldest first; the newest ``history_length`` count, if any.
                For many users, lists of lists here and in ``candidates``, and in the result.
            candidates: the articles to rank.
            ids: whether texts are ids of added articles or titles (``None``: ids if any was added).
            rerank: as the setting; applied in this order to each user's candidates.
            moment: arguments of ``Moment.of``, for recommenders trained with ``popularity``: ``at``
                (UTC seconds; what others did before then counts too; without it, text alone),
                ``user``, ``page``, ``device`` and ``subscriber``. Each may be a list for many
                users. With ``history_from: log``, what the user clicked since extends ``history``.

        Raises:
            ValueError: no candidates, an unknown id, different numbers of users, ``at`` without
                counters, or a wrong ``rerank``.
            TypeError: an argument is not a list of articles, or a part of a visit of another type.
        """
        return self._ask(ids, history, candidates, rerank, moment)

    def top(
        self,
        history: Any,
        k: int = 10,
        *,
        ids: bool | None = None,
        leave_out_clicked: bool = True,
        rerank: Sequence[Any] = (),
        **moment: Any,
    ) -> Any:
        """The ``k`` best of all added articles (or fewer), best first, with their positions.

        Arguments, result and errors as for ``rank``. Raises ``ValueError`` if no articles were
        added or ``k`` is below 1.

        Args:
            history, ids, moment: as for ``rank``.
            k: number of articles.
            leave_out_clicked: exclude articles in the history, by id or equal text.
            rerank: as for ``rank``, of the best ``POOL * k``, from ``LEAST_POOL`` to ``MOST_POOL``
                and at least ``k``, not counting those that it removes, and all pinned ones.
        """
        if k < 1:
            raise ValueError(f"top expects k of at least 1, got {k}.")
        return self._ask(ids, history, None, rerank, moment, k, leave_out_clicked)

    def _ask(self, ids: bool | None, *asked: Any) -> Any:
        queries, one = queries_of(bool(self.news_ids) if ids is None else ids, *asked)
        ranked = self.answer(queries)
        return ranked[0] if one else ranked

    def answer(
        self, queries: Sequence[Query], snapshot: IndexSnapshot | None = None
    ) -> list[list[Ranked]]:
        """``rank``, or ``top`` for queries with ``k``, by an earlier snapshot or now.

        Raises ``UnknownArticleError`` for ids of no article, and where there is none to choose.
        """
        snapshot = snapshot or self.index.snapshot
        is_top, step = queries[0].k > 0, USERS_AT_ONCE
        if is_top:
            if not snapshot.ids:
                raise UnknownArticleError(
                    "top expects articles to choose from, got none. Add them: add_news, PUT /news."
                )
            counts = any(query.moment is not None for query in queries)
            values = len(snapshot.ids) * (COUNTERS_OF_A_SCORE if counts else 1)
            step = max(1, min(USERS_AT_ONCE, SCORES_AT_ONCE // values))
        answers = []
        for start in range(0, len(queries), step):
            some = self._informed(queries[start : start + step], snapshot)
            lists = [part for query in some for part in (query.history, query.candidates)]
            resolved = self.index.resolve(lists, snapshot)
            clicks, shown = resolved[0::2], resolved[1::2]
            batch = self.index.batch(clicks, shown, snapshot, [query.page for query in some])
            counters = self._features([None] * len(some) if is_top else shown, some, snapshot)
            pools: Iterable[tuple[Sequence[Resolved], list[str], NDArray[np.float32]]]
            if is_top:
                rows = [snapshot.rows.get(query.page, -1) for query in some]
                every = snapshot.vectors, snapshot.categories, counters
                pages = torch.tensor(rows, device=batch.vectors.device)
                scores = self.engine.all_scores(batch, *every, pages).cpu().numpy()
                pools = self._pools(some, scores, clicks, snapshot)
            else:
                scores = self.engine.scores(batch, counters).cpu().numpy()
                bounds = pairwise([0, *accumulate(map(len, shown))])
                parts = [scores[slice(*bound)] for bound in bounds]
                names = [[*map(name_of, query.candidates)] for query in some]
                pools = zip(shown, names, parts, strict=True)
            answers += [
                self._ranked(query, *pool, snapshot)
                for query, pool in zip(some, pools, strict=True)
            ]
        return answers

    def _pools(
        self,
        queries: Sequence[Query],
        scores: NDArray[np.float32],
        clicks: Sequence[Sequence[Resolved]],
        snapshot: IndexSnapshot,
    ) -> Iterator[tuple[list[int], list[str], NDArray[np.float32]]]:
        """Rows, ids and scores of the articles that may be each query's best, best first."""
        if np.isnan(scores.min()):  # min returns NaN if there is one
            name = snapshot.ids[int(np.isnan(scores).any(0).argmax())]
            raise ValueError(NOT_A_NUMBER.format(name))
        left_out = [
            snapshot.rows_of(part) if query.leave_out_clicked else []
            for query, part in zip(queries, clicks, strict=True)
        ]
        bests = best_rows(scores, max(query.pool for query in queries), left_out)
        for query, own, best in zip(queries, scores, bests, strict=True):
            rows = best[: query.pool].tolist()
            pinned = {snapshot.rows.get(name, -1) for name in query.rerank.ids_of("pinned")}
            more = np.array(sorted(pinned - {-1, *rows}), int)
            more = more[own[more] > -np.inf]
            rows += more[np.argsort(-own[more], kind="stable")].tolist()
            yield rows, [snapshot.ids[row] for row in rows], own[rows]

    def _ranked(
        self,
        query: Query,
        articles: Sequence[Resolved],
        names: list[str],
        scores: NDArray[np.float32],
        snapshot: IndexSnapshot,
    ) -> list[Ranked]:
        """Articles in the order of their scores and of ``query.rerank``."""
        ranked = best_first(names, scores)
        if query.rerank:
            columns: dict[str, Any] = {}
            for name in query.rerank.needs:
                if name == VECTORS:
                    batch = self.index.batch([], [articles], snapshot)
                    columns[name] = batch.vectors[batch.candidates].float().cpu().numpy()
                else:
                    columns[name] = snapshot.group(name, articles)
            candidates = Candidates(names, scores, {*map(name_of, query.history)}, columns)
            by_place = {candidate.place: candidate for candidate in ranked}
            *_, order = query.rerank.orders([*by_place], candidates)
            ranked = [by_place[place] for place in order]
        if query.k:
            rows = cast("Sequence[int]", articles)
            ranked = [each._replace(place=rows[each.place]) for each in ranked[: query.k]]
        return ranked

    def _features(
        self,
        candidates: Sequence[Sequence[Resolved] | None],
        queries: Sequence[Query],
        snapshot: IndexSnapshot,
    ) -> torch.Tensor | None:
        """Counters of candidates (``None``: all added articles), ``[candidates, features]``.

        ``None`` if the queries have no moment.
        """
        moments = [query.moment for query in queries if query.moment is not None]
        if not moments:
            return None
        counters, counting = self._counters()
        numbers = [self.index.numbers(articles, snapshot, counters) for articles in candidates]
        features = counters.features(counting, numbers, moments)
        return torch.from_numpy(features).to(self.engine.device)

    def _counters(self) -> tuple[LiveCounters, Counting]:
        if self.engine.counting is None:
            raise ValueError(
                "at expects a recommender that was trained with popularity, and this one ranks by "
                "text alone when it is loaded. Train one with --popularity=added."
            )
        if self.counters is None:
            raise ValueError("at expects counters: load(folder, store=FILE), or give it some.")
        return self.counters, self.engine.counting

    def _informed(self, queries: Sequence[Query], snapshot: IndexSnapshot) -> list[Query]:
        """With what the store knows that the readers clicked since at the end of their history."""
        informed, counters = [*queries], self.counters
        if counters is None or self.settings.get("history_from") != "log":
            return informed
        width, delay = (self.settings[name] for name in ("history_length", "popularity_delay"))
        for number, query in enumerate(queries):
            if query.moment is not None and query.moment.user:
                given = {*map(name_of, query.history[-width:])}
                since = counters.clicks(query.moment.user, query.moment.at, delay, width)
                recent = [name for name in since if name in snapshot.rows and name not in given]
                informed[number] = query._replace(history=[*query.history, *recent])
        return informed

    def click_weights(
        self, history: Any, moment: Moment | None = None, *, snapshot: IndexSnapshot | None = None
    ) -> list[float] | None:
        """Attention weights of one user's clicks; ``None``: the model has none.

        They sum to 1 with those of the clicks that ``rank`` takes from the store, if any.
        """
        snapshot = snapshot or self.index.snapshot
        (query, *_), one = queries_of(bool(snapshot.ids), history, None)
        if not one:
            raise TypeError("click_weights expects the clicks of one user, got those of several.")
        if not query.history:
            return []
        ((clicks, *_),) = self._informed([query._replace(moment=moment)], snapshot)
        batch = self.index.batch(self.index.resolve([clicks], snapshot), [], snapshot)
        weights = self.engine.click_weights(batch.vectors, batch.histories)
        if weights is None:
            return None
        counted = min(len(clicks), weights.shape[1])  # older ones have no weight
        newest = weights[0, weights.shape[1] - counted :].tolist()
        return ([0.0] * (len(clicks) - counted) + newest)[: len(query.history)]

    def contributions(
        self, query: Query, snapshot: IndexSnapshot | None = None
    ) -> list[dict[str, float]] | None:
        """``PARTS`` of the scores of a query with a moment, in the order of its candidates."""
        snapshot = snapshot or self.index.snapshot
        (query,) = self._informed([query], snapshot)
        clicks, shown = self.index.resolve([query.history, query.candidates], snapshot)
        counters = self._features([shown], [query], snapshot)
        if counters is None:
            raise ValueError("contributions expects a query with a moment: Moment.of(at=TIME).")
        batch = self.index.batch([clicks], [shown], snapshot, [query.page])
        parts = self.engine.contributions(batch, counters)
        if parts is None:
            return None
        return [dict(zip(PARTS, each, strict=False)) for each in parts.tolist()]

    def encode(self, articles: Sequence[Given]) -> NDArray[np.float32]:
        """Vectors of titles or fields, ``[articles, news_dim]``, kept for ``rank`` like its own."""
        fields = [{TITLE: each} if isinstance(each, str) else each for each in articles]
        for each in fields:
            check_fields(each)
        read = (self.index.article("", each).fields for each in fields)
        return self.index.encode(read).cpu().numpy()

    def add_news(self, news: Any, show_progress: bool = True) -> None:
        """Encode articles and keep them by id, for ``top`` and ``rank``; a known id is replaced.

        ``news`` is a DataFrame with ``id`` (or ``item_id``, ``news_id``), ``title``, other fields
        and perhaps ``published`` (UTC seconds), or a mapping from ids to titles or fields.

        Raises:
            ValueError: missing column, empty or repeated id, or unknown field.
            TypeError: unsupported type, or an id or field that is not a string.
        """
        self.index.add(articles_of(news, self.engine.reads), show_progress)
        if self.counters is not None:
            self.counters.publish(published_in(news))

    def forget(self, ids: Sequence[str]) -> None:
        """Remove added articles; ``ValueError`` for an unknown id."""
        self.index.forget(ids)

    @property
    def news_ids(self) -> tuple[str, ...]:
        """Ids of the added articles, in order."""
        return self.index.snapshot.ids

    def add_events(self, events: Iterable[Any], now: float | None = None) -> Added:
        """Count exposures and clicks of added articles, as ``LiveCounters.add`` describes."""
        counters, _ = self._counters()
        return counters.add(events, self.index, now)


def queries_of(
    ids: bool,
    history: Any,
    candidates: Any,
    rerank: Sequence[Any] = (),
    moment: Mapping[str, Any] = MappingProxyType({}),
    *of_top: Any,
) -> tuple[list[Query], bool]:
    """The queries in the arguments of ``Ranker.rank``, and whether it is of a single user.

    ``ids``: whether texts are ids, or titles; ``candidates``: ``None`` for ``Ranker.top``.
    """
    is_top = candidates is None
    lists = _listed(history, "history") if is_top else _listed(candidates, "candidates")
    one = not lists or any(isinstance(each, (str, Mapping)) for each in lists)
    histories = [history] if one else _listed(history, "history")
    lists = [()] * len(histories) if is_top else [lists] if one else lists
    if len(histories) != len(lists):
        raise ValueError(
            f"rank expects a history for each list of candidates, got {len(histories)} histories "
            f"and {len(lists)} lists of candidates."
        )
    rerankers, queries = ReRanking.parse(rerank) if rerank else ReRanking(), []
    for number, at_moment in enumerate(_moments_of(moment, len(lists))):
        whose = "" if one else f" for user {number}"
        clicks = _articles(ids, histories[number], f"history{whose}")
        shown = _articles(ids, lists[number], f"candidates{whose}")
        if not (is_top or shown):
            raise ValueError(f"rank expects at least 1 candidate, got none{whose}.")
        queries.append(Query(clicks, shown, at_moment, rerankers, *of_top))
    return queries, one


def _articles(ids: bool, values: Any, what: str) -> list[Given]:
    """Checked articles of one reader, by ``ids`` or titles; ``what`` names them in errors."""
    articles = _listed(values, what)
    for article in articles:
        if isinstance(article, str):
            continue
        if isinstance(article, Mapping):
            check_fields(article)
        else:
            raise TypeError(f"rank expects {what} as a list of texts, got {article!r:.100} in it.")
    return articles if ids else [{TITLE: a} if isinstance(a, str) else a for a in articles]


def _listed(values: Any, what: str) -> list[Any]:
    """A list of values; ``TypeError`` for a string, a mapping or a set."""
    if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        raise TypeError(f"rank expects {what} as a list of texts, got {values!r:.100}.")
    return list(values)


def _moments_of(moment: Mapping[str, Any], users: int) -> list[Moment] | list[None]:
    if moment.get("at") is None:
        if alone := [name for name, value in moment.items() if value is not None]:
            raise ValueError(f"rank expects {alone[0]} together with at, got {alone[0]} alone.")
        return [None] * users
    columns = {}
    for name, value in moment.items():
        is_of_each = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
        columns[name] = list(value) if is_of_each else [value] * users
        if len(columns[name]) != users:
            raise ValueError(
                f"rank expects {name} once for each of {users} histories, got {len(columns[name])}."
            )
    every = zip(*columns.values(), strict=True)
    return [Moment.of(**dict(zip(columns, parts, strict=True))) for parts in every]
