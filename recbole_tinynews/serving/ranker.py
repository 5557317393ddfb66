"""Ranks news articles with a finished recommender."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.evaluation.rerank import VECTORS, Candidates
from recbole_tinynews.files.columns import TITLE
from recbole_tinynews.serving.article_fields import (
    Given,
    Query,
    articles_of,
    check_fields,
    name_of,
    published_in,
    queries_of,
)
from recbole_tinynews.serving.article_index import (
    ArticleIndex,
    IndexSnapshot,
    Resolved,
)
from recbole_tinynews.serving.engine import (
    NOT_A_NUMBER,
    Contributions,
    Engine,
    Ranked,
    best_first,
    best_rows,
)
from recbole_tinynews.serving.live_counters import Added, LiveCounters
from recbole_tinynews.serving.rank_table import rank_table as _rank_table

USERS_AT_ONCE = 256
SCORES_AT_ONCE = 32_000_000  # users times articles: 128 MB
COUNTERS_OF_A_SCORE = 20  # about: age and two per window, and as many for the context
POOL, LEAST_POOL, MOST_POOL = 10, 100, 1_000  # articles that `top` re-ranks: per wanted; bounds


class Ranker:
    """Ranks candidates for users by their clicks; ``recbole_tinynews.load`` creates it.

    Scores equal those of evaluation in fp32. Vectors of added articles and the last
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
        self, history: Any, candidates: Any, *, rerank: Sequence[Any] = (), **moment: Any
    ) -> Any:
        """Candidates from best to worst; equal scores keep the given order.

        Args:
            history: the user's clicks, oldest first; the newest ``history_length`` count, if any.
                For many users, lists of lists here and in ``candidates``, and in the result.
            candidates: the articles to rank.
            rerank: as the setting; applied in this order to each user's candidates.
            moment: arguments of ``Moment.of``, for recommenders trained with ``popularity``: ``at``
                (UTC seconds; what others did before then counts too; without it, text alone),
                ``user``, ``page``, ``device`` and ``subscriber``. Each may be a list for many
                users. With ``history_from: log``, what the user clicked since extends ``history``.

        Raises:
            ValueError: no candidates, an unknown id, different numbers of users, ``at`` without
                counters, or a wrong ``rerank``.
            TypeError: an argument is not a list of articles.
        """
        queries, one = queries_of(history, candidates, rerank, moment)
        ranked = self.answer(queries)
        return ranked[0] if one else ranked

    def top(
        self,
        history: Any,
        k: int = 10,
        *,
        leave_out_clicked: bool = True,
        rerank: Sequence[Any] = (),
        **moment: Any,
    ) -> Any:
        """The ``k`` best of all added articles (or fewer), best first, with their positions.

        Arguments, result and errors as for ``rank``. Raises ``ValueError`` if no articles were
        added or ``k`` is below 1.

        Args:
            history, moment: as for ``rank``.
            k: number of articles.
            leave_out_clicked: exclude articles in the history, by id or equal text.
            rerank: as for ``rank``, of the best ``POOL * k``, from ``LEAST_POOL`` to ``MOST_POOL``
                and at least ``k``, not counting those that it removes, and all pinned ones.
        """
        if k < 1:
            raise ValueError(f"top expects k of at least 1, got {k}.")
        queries, one = queries_of(history, None, rerank, moment)
        queries = [query._replace(k=k) for query in queries]
        ranked = self.answer_top(queries, leave_out_clicked=leave_out_clicked)
        return ranked[0] if one else ranked

    def answer(
        self, queries: Sequence[Query], snapshot: IndexSnapshot | None = None
    ) -> list[list[Ranked]]:
        """``rank`` for queries, by an earlier snapshot of the index or the present one."""
        snapshot = snapshot or self.index.snapshot
        lists = [part for query in queries for part in (query.history, query.candidates)]
        resolved = self.index.resolve(lists, snapshot)
        answers = []
        for start in range(0, len(queries), USERS_AT_ONCE):
            some = queries[start : start + USERS_AT_ONCE]
            parts = resolved[2 * start : 2 * (start + len(some))]
            clicks, candidates = _recent(self, some, parts[0::2], snapshot), parts[1::2]
            batch = self.index.batch(clicks, candidates, snapshot, [q.page for q in some])
            counters = _features(self, candidates, some, snapshot)
            scores = self.engine.scores(batch, counters).cpu().numpy()
            ends = np.cumsum([*map(len, candidates)])[:-1]
            for query, articles, own in zip(some, candidates, np.split(scores, ends), strict=True):
                ranked = best_first([*map(name_of, query.candidates)], own)
                answers.append(_reranked(query, ranked, articles, self.index, snapshot))
        return answers

    def answer_top(
        self,
        queries: Sequence[Query],
        snapshot: IndexSnapshot | None = None,
        leave_out_clicked: bool = True,
    ) -> list[list[Ranked]]:
        """``top`` for queries, by an earlier snapshot of the index or the present one."""
        snapshot = snapshot or self.index.snapshot
        if not snapshot.ids:
            raise ValueError("top expects articles to choose from, got none. Add them: add_news.")
        counts = any(query.moment is not None for query in queries)
        values = len(snapshot.ids) * (COUNTERS_OF_A_SCORE if counts else 1)
        step, answers = max(1, min(USERS_AT_ONCE, SCORES_AT_ONCE // values)), []
        for start in range(0, len(queries), step):
            some = queries[start : start + step]
            given = self.index.resolve([query.history for query in some], snapshot)
            clicks = _recent(self, some, given, snapshot)
            left_out = [snapshot.rows_of(part) if leave_out_clicked else [] for part in clicks]
            batch = self.index.batch(clicks, [], snapshot)
            counters = _features(self, [None] * len(some), some, snapshot)
            rows = [snapshot.rows.get(query.page, -1) for query in some]
            pages = torch.tensor(rows, device=batch.vectors.device)
            scores = self.engine.all_scores(batch, snapshot.vectors, counters, pages).cpu().numpy()
            if np.isnan(scores.min()):  # min returns NaN if there is one
                name = snapshot.ids[int(np.isnan(scores).any(0).argmax())]
                raise ValueError(NOT_A_NUMBER.format(name))
            bests = best_rows(scores, max(map(_pool_size, some)), left_out)
            for query, own, (best, _) in zip(some, scores, bests, strict=True):
                answers.append(_best_of_pool(query, best, own, self.index, snapshot))
        return answers

    def click_weights(
        self, history: Any, *, snapshot: IndexSnapshot | None = None
    ) -> list[float] | None:
        """Attention weights of one user's clicks; they sum to 1. ``None``: the model has none."""
        ((clicks, *_), *_), one = queries_of(history, None)
        if not one:
            raise TypeError("click_weights expects the clicks of one user, got those of several.")
        if not clicks:
            return []
        snapshot = snapshot or self.index.snapshot
        batch = self.index.batch(self.index.resolve([clicks], snapshot), [], snapshot)
        weights = self.engine.click_weights(batch.vectors, batch.histories)
        if weights is None:
            return None
        counted = min(len(clicks), weights.shape[1])  # older ones have no weight
        newest = weights[0, weights.shape[1] - counted :].tolist()
        return [0.0] * (len(clicks) - counted) + newest

    def contributions(
        self, query: Query, snapshot: IndexSnapshot | None = None
    ) -> list[Contributions] | None:
        """Parts of the scores of a query with a moment, in the order of its candidates, if any."""
        snapshot = snapshot or self.index.snapshot
        given, shown = self.index.resolve([query.history, query.candidates], snapshot)
        (clicks,) = _recent(self, [query], [given], snapshot)
        counters = _features(self, [shown], [query], snapshot)
        if counters is None:
            raise ValueError("contributions expects a query with a moment: Moment.of(at=TIME).")
        batch = self.index.batch([clicks], [shown], snapshot, [query.page])
        parts = self.engine.contributions(batch, counters)
        return None if parts is None else [Contributions(*values) for values in parts.tolist()]

    def encode(self, articles: Sequence[Given]) -> NDArray[np.float32]:
        """Vectors of titles or fields, ``[articles, news_dim]``, kept for ``rank`` like its own."""
        fields = [{TITLE: each} if isinstance(each, str) else each for each in articles]
        for each in fields:
            check_fields(each)
        return self.index.encode(map(self.engine.fields.select, fields)).cpu().numpy()

    def add_news(self, news: Any, show_progress: bool = True) -> None:
        """Encode articles and keep them by id, for ``top`` and ``rank``; a known id is replaced.

        ``news`` is a DataFrame with ``id`` (or ``item_id``, ``news_id``), ``title``, other fields
        and perhaps ``published`` (UTC seconds), or a mapping from ids to titles or fields.

        Raises:
            ValueError: missing column, empty or repeated id, or unknown field.
            TypeError: unsupported type, or an id or field that is not a string.
        """
        self.index.add(articles_of(news, self.engine.fields.names), show_progress)
        if self.counters is not None:
            self.counters.publish(published_in(news))

    def forget(self, ids: Sequence[str]) -> None:
        """Remove added articles; ``ValueError`` for an unknown id."""
        self.index.forget(ids)

    @property
    def news_ids(self) -> tuple[str, ...]:
        """Ids of the added articles, in order."""
        return self.index.snapshot.ids

    def save_index(self, path: str | Path) -> None:
        """Write the added articles and their vectors to one file, for ``load(..., index=path)``."""
        self.index.save(Path(path))

    def add_events(self, events: Iterable[Any], now: float | None = None) -> Added:
        """Count exposures and clicks of added articles, as ``LiveCounters.add`` describes."""
        counters, _ = _counters(self)
        return counters.add(events, self.index, now)


def _counters(ranker: Ranker) -> tuple[LiveCounters, Counting]:
    if ranker.engine.counting is None:
        raise ValueError(
            "at expects a recommender that was trained with popularity, and this one ranks by "
            "text alone when it is loaded. Train one with --popularity=added."
        )
    if ranker.counters is None:
        raise ValueError("at expects counters: load(folder, store=FILE), or give it some.")
    return ranker.counters, ranker.engine.counting


def _features(
    ranker: Ranker,
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
    counters, counting = _counters(ranker)
    numbers = [ranker.index.numbers(articles, snapshot, counters) for articles in candidates]
    features = counters.features(counting, numbers, moments)
    return torch.from_numpy(features).to(ranker.engine.device)


def _recent(
    ranker: Ranker,
    queries: Sequence[Query],
    histories: Sequence[Sequence[Resolved]],
    snapshot: IndexSnapshot,
) -> list[Sequence[Resolved]]:
    """Histories, extended by what the store knows that the readers clicked since."""
    longer, counters = [*histories], ranker.counters
    if counters is None or ranker.settings["history_from"] != "log":
        return longer
    width, delay = (ranker.settings[name] for name in ("history_length", "popularity_delay"))
    for number, (query, history) in enumerate(zip(queries, histories, strict=True)):
        if query.moment is not None and query.moment.user:
            newest = history[-width:]
            given = {snapshot.ids[a] if isinstance(a, int) else a.id for a in newest}
            since = counters.clicks(query.moment.user, query.moment.at, delay, width)
            recent = [snapshot.rows[i] for i in since if i in snapshot.rows and i not in given]
            longer[number] = [*newest, *recent][-width:]
    return longer


def _best_of_pool(
    query: Query,
    best: NDArray[np.int64],
    scores: NDArray[np.float32],
    index: ArticleIndex,
    snapshot: IndexSnapshot,
) -> list[Ranked]:
    """The ``k`` best after re-ranking of the best articles and the pinned ones."""
    rows = best[: _pool_size(query)].tolist()
    pinned = {snapshot.rows.get(name, -1) for name in query.rerank.ids_of("pinned")} - {-1, *rows}
    more = [row for row in pinned if scores[row] > -np.inf]
    rows += sorted(more, key=lambda row: (-scores[row], row))
    names = [snapshot.ids[row] for row in rows]
    pool = [*map(Ranked, names, scores[rows].tolist(), rows)]
    if query.rerank:
        numbered = [article._replace(place=place) for place, article in enumerate(pool)]
        chosen = _reranked(query, numbered, rows, index, snapshot)
        pool = [pool[article.place] for article in chosen]
    return pool[: query.k]


def _reranked(
    query: Query,
    ranked: list[Ranked],
    articles: Sequence[Resolved],
    index: ArticleIndex,
    snapshot: IndexSnapshot,
) -> list[Ranked]:
    """The order after ``query.rerank``; ``articles`` in the order of the places."""
    if not query.rerank:
        return ranked
    by_place = sorted(ranked, key=lambda candidate: candidate.place)
    columns: dict[str, Any] = {}
    for name in query.rerank.needs:
        if name == VECTORS:
            batch = index.batch([], [articles], snapshot)
            columns[name] = batch.vectors[batch.candidates].float().cpu().numpy()
        else:
            columns[name] = snapshot.group(name, articles)
    names, scores = [c.candidate for c in by_place], np.array([c.score for c in by_place])
    candidates = Candidates(names, scores, {*map(name_of, query.history)}, columns)
    *_, order = query.rerank.orders([c.place for c in ranked], candidates)
    return [by_place[place] for place in order]


def _pool_size(query: Query) -> int:
    """Number of best articles of which ``k`` are left after re-ranking."""
    if not query.rerank:
        return query.k
    removes_read = any(each.name == "already_read" for each in query.rerank)
    wanted = max(min(max(POOL * query.k, LEAST_POOL), MOST_POOL), query.k)
    removed = len(query.history) * removes_read + len(query.rerank.ids_of("excluded"))
    return wanted + removed
