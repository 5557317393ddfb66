"""Ranks news articles with a finished recommender."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_tinynews.evaluation.rerank import VECTORS, Candidates, ReRanking
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.known_articles import KnownArticles
from recbole_tinynews.serving.live_counters import Moment
from recbole_tinynews.serving.lookup import Key
from recbole_tinynews.serving.nearest import Nearest
from recbole_tinynews.serving.news_index import NOT_A_NUMBER, Shelf, TopOfUser
from recbole_tinynews.serving.requests import (
    Given,
    User,
    histories_of,
    moments_of,
    name_of,
    user_of,
    users_of,
)
from recbole_tinynews.serving.scores import Scorer
from recbole_tinynews.serving.table import rank_table

USERS_AT_ONCE = 256
SCORES_AT_ONCE = 32_000_000  # users times articles: 128 MB
COUNTERS_OF_A_SCORE = 20  # about: age and two per window, and as many for the context
POOL, LEAST_POOL, MOST_POOL = 10, 100, 1_000  # articles that `top` re-ranks: per wanted; bounds


class Ranked(NamedTuple):
    """A candidate (the id or title given), its score, and its position in the input, from 0."""

    candidate: str
    score: float
    place: int


class Contributions(NamedTuple):
    """The terms of a score; freshness depends on the article's age."""

    text: float
    popularity: float
    freshness: float


class Ranker(KnownArticles):
    """Ranks candidates for users by their clicks; ``recbole_tinynews.load`` creates it.

    Scores equal those of evaluation in fp32. Vectors of added articles and the last
    ``KEPT_VECTORS`` others stay in memory. Thread-safe.

    An article is a title, an id (added, or of the data set), a mapping of fields (``title``,
    ``abstract``, ``body``, ``category``, ``subcategory``, ``source``, optionally ``id``), or a
    tuple ``(id, title or fields)``. Unread fields are ignored, missing ones are empty; an unknown
    category counts as none.
    """

    def __init__(self, engine: Engine, data_path: str | Path | None = None) -> None:
        super().__init__(engine, data_path)
        self.settings: Mapping[str, Any] = engine.settings
        self._nearest: Nearest | None = None

    @overload
    def rank(  # type: ignore[overload-overlap]  # a str is a sequence of str
        self,
        history: Sequence[Given],
        candidates: Sequence[Given],
        *,
        ids: bool | None = None,
        at: float | None = None,
        user: str | None = None,
        rerank: Sequence[Any] = (),
    ) -> list[Ranked]: ...

    @overload
    def rank(
        self,
        history: Sequence[Sequence[Given]],
        candidates: Sequence[Sequence[Given]],
        *,
        ids: bool | None = None,
        at: float | Sequence[float] | None = None,
        user: Sequence[str | None] | None = None,
        rerank: Sequence[Any] = (),
    ) -> list[list[Ranked]]: ...

    def rank(
        self,
        history: Any,
        candidates: Any,
        *,
        ids: bool | None = None,
        at: Any = None,
        user: Any = None,
        rerank: Sequence[Any] = (),
    ) -> Any:
        """Candidates from best to worst; equal scores keep the given order.

        Args:
            history: the user's clicks, oldest first; the newest ``history_length`` count, if any.
                For many users, lists of lists here and in ``candidates``, and in the result.
            candidates: the articles to rank.
            ids: whether all texts are news ids (True) or titles (False); by default ids if all are
                known as ids. Pass it if a title may look like an id.
            at: UTC seconds, for recommenders trained with ``popularity``: what others did before
                then counts too. ``None``: text alone.
            user: whose own clicks and exposures are left out; for many users a list, like ``at``.
            rerank: as the setting; applied in this order to each user's candidates.

        Raises:
            ValueError: no candidates, an unknown id, different numbers of users, ``at`` without
                counters, or a wrong ``rerank``.
            TypeError: an argument is not a list of articles.
            FileNotFoundError: ids of a data set that is not found.
        """
        users, one = users_of(history, candidates)
        moments, rerankers = moments_of(at, user, len(users), one), ReRanking.parse(rerank)
        ranked = self.rank_users(users, ids, moments, [rerankers] * len(users))
        return ranked[0] if one else ranked

    def rank_users(
        self,
        users: Sequence[User],
        ids: bool | None,
        moments: Sequence[Moment] | None = None,
        rerank: Sequence[ReRanking] = (),
        shelf: Shelf | None = None,
    ) -> list[list[Ranked]]:
        """``rank`` for users from ``users_of``; ``moments`` and ``rerank`` have one for each user.

        ``shelf``: an earlier snapshot of the added articles (default: the current one).
        """
        shelf = shelf or self.shelf
        keys = self._lookup.keys([part for user in users for part in user], ids, shelf)
        ranked: list[list[Ranked]] = []
        scorer = Scorer(self.engine, self._known, shelf)
        for start in range(0, len(users), USERS_AT_ONCE):
            some = users[start : start + USERS_AT_ONCE]
            parts = keys[2 * start : 2 * (start + len(some))]
            names = [[name_of(each) for each in user.candidates] for user in some]
            counters = None
            if moments is not None:
                shown = [
                    self._numbers(user.candidates, own, ids is False, shelf)
                    for user, own in zip(some, parts[1::2], strict=True)
                ]
                counters = self._features(shown, moments[start : start + len(some)])
            scores = scorer.scores(parts[0::2], parts[1::2], counters)
            ranked += [best_first(*each) for each in zip(names, scores, strict=True)]
        for number, own in enumerate(rerank):
            if own:
                about = users[number], keys[2 * number + 1], ids is False, shelf
                ranked[number] = self._reranked(own, ranked[number], *about)
        return ranked

    def _reranked(
        self,
        rerankers: ReRanking,
        ranked: list[Ranked],
        user: User,
        keys: list[Key],
        are_titles: bool,
        shelf: Shelf,
    ) -> list[Ranked]:
        given = sorted(ranked, key=lambda each: each.place)
        columns = {
            name: Scorer(self.engine, self._known, shelf).vectors(keys)
            if name == VECTORS
            else self._group(name, user.candidates, are_titles, shelf)
            for name in rerankers.needs
        }
        scores, clicked = [each.score for each in given], {*map(name_of, user.history)}
        of = Candidates([each.candidate for each in given], np.array(scores), clicked, columns)
        *_, order = rerankers.orders([each.place for each in ranked], of)
        return [given[place] for place in order]

    def top(
        self,
        history: Any,
        k: int = 10,
        *,
        ids: bool | None = None,
        leave_out_clicked: bool = True,
        at: Any = None,
        user: Any = None,
        rerank: Sequence[Any] = (),
    ) -> Any:
        """The ``k`` best of all added articles (or fewer), best first, with their positions.

        Arguments, result and errors as for ``rank``; search is exact with ``at``. Raises
        ``ValueError`` if no articles were added or ``k`` is below 1.

        Args:
            history, ids, at, user: as for ``rank``.
            k: number of articles.
            leave_out_clicked: exclude articles in the history, by id or equal text.
            rerank: as for ``rank``, of the best ``POOL * k``, from ``LEAST_POOL`` to ``MOST_POOL``
                and at least ``k``, not counting those that it removes, and all pinned ones.
        """
        histories, one = histories_of(history)
        found = self.top_users(
            histories,
            [k] * len(histories),
            ids=ids,
            leave_out_clicked=leave_out_clicked,
            moments=moments_of(at, user, len(histories), one),
            rerank=[ReRanking.parse(rerank)] * len(histories),
        )
        return found[0] if one else found

    def top_users(
        self,
        histories: Sequence[Sequence[Given]],
        k: Sequence[int],
        *,
        rerank: Sequence[ReRanking],
        shelf: Shelf | None = None,
        **how: Any,
    ) -> list[list[Ranked]]:
        """``top`` for many users, each with its own ``k`` and ``rerank``; ``how``: ``top_rows``."""
        shelf, least = shelf or self.shelf, min(k, default=1)
        pinned = [own.ids_of("pinned") & shelf.rows.keys() for own in rerank]
        pools = [*map(_pool_size, k, histories, rerank)]
        most = least if least < 1 else max(pools, default=1)
        bests: dict[int, TopOfUser] = {}
        for pins in (False, True):  # a pinned article may be the last of all, and not be searched
            group = [user for user, own in enumerate(pinned) if bool(own) is pins]
            moments = how.get("moments") and [how["moments"][user] for user in group]
            own = {**how, "moments": moments, "exact": pins, "shelf": shelf}
            asked = [histories[user] for user in group], len(shelf.ids) if pins else most
            bests |= zip(group, self.top_rows(*asked, **own), strict=True)
        found = []
        for user, best in sorted(bests.items()):
            pool = _pool(best, pools[user], pinned[user])
            if rerank[user]:
                names: list[Given] = [each.candidate for each in pool]
                rows: list[Key] = [each.place for each in pool]
                given = [each._replace(place=place) for place, each in enumerate(pool)]
                about = User([*histories[user]], names), rows, False, shelf
                chosen = self._reranked(rerank[user], given, *about)
                pool = [pool[each.place] for each in chosen]
            found.append(pool[: k[user]])
        return found

    def top_rows(
        self,
        histories: Sequence[Sequence[Given]],
        k: int,
        *,
        ids: bool | None = None,
        leave_out_clicked: bool = True,
        exact: bool = False,
        moments: Sequence[Moment] | None = None,
        shelf: Shelf | None = None,
    ) -> Iterator[TopOfUser]:
        """``top`` for many users as arrays, user by user; ``exact`` overrides ``approximate``."""
        nearest = None if exact else self._nearest
        shelf = shelf or self.shelf
        if not shelf.ids:
            raise ValueError("top expects articles to choose from, got none. Add them: add_news.")
        if k < 1:
            raise ValueError(f"top expects k of at least 1, got {k}.")
        values = len(shelf.ids) * (1 if moments is None else COUNTERS_OF_A_SCORE)
        scorer = Scorer(self.engine, self._known, shelf)
        step = max(1, min(USERS_AT_ONCE, SCORES_AT_ONCE // values))
        for start in range(0, len(histories), step):
            some = histories[start : start + step]
            keys = self._lookup.keys(some, ids, shelf)
            left_out = [
                _rows_of(*each, shelf) if leave_out_clicked else []
                for each in zip(some, keys, strict=True)
            ]
            counters = None
            if moments is not None:
                every = self._numbers_on(shelf)
                counters = self._features([every] * len(some), moments[start:][: len(some)])
            for rows, scores in scorer.best(keys, left_out, k, nearest, counters):
                places = rows.tolist()
                yield TopOfUser([shelf.ids[row] for row in places], scores, places)

    def click_weights(
        self, history: Any, *, ids: bool | None = None, shelf: Shelf | None = None
    ) -> list[float] | None:
        """Attention weights of one user's clicks; they sum to 1. ``None``: the model has none."""
        histories, one = histories_of(history)
        if not one:
            raise TypeError("click_weights expects the clicks of one user, got those of several.")
        shelf = shelf or self.shelf
        (clicks,) = self._lookup.keys(histories, ids, shelf)
        return Scorer(self.engine, self._known, shelf).click_weights(clicks) if clicks else []

    def contributions(
        self,
        history: Any,
        candidates: Any,
        *,
        ids: bool | None = None,
        at: float,
        user: str | None = None,
        of_top: bool = False,
        shelf: Shelf | None = None,
    ) -> list[Contributions] | None:
        """Parts of each score, in the given order, if any; arguments as for ``rank`` or ``top``."""
        history, candidates = user_of(history, candidates)
        shelf = shelf or self.shelf
        clicks, shown = self._lookup.keys([history, candidates], ids, shelf)
        if of_top:
            every = self._numbers_on(shelf)
            counters = self._features([every], [Moment.of(at, user)])
            counters = counters[[shelf.rows[name_of(each)] for each in candidates]]
        else:
            numbers = self._numbers(candidates, shown, ids is False, shelf)
            counters = self._features([numbers], [Moment.of(at, user)])
        parts = Scorer(self.engine, self._known, shelf).contributions(clicks, shown, counters)
        return None if parts is None else [*map(Contributions._make, parts.tolist())]

    def rank_table(
        self,
        users: pd.DataFrame,
        candidates: pd.DataFrame | str | None = None,
        top: int | None = None,
    ) -> pd.DataFrame:
        """Rank for a table of users, as described in ``serving.table.rank_table``."""
        return rank_table(self, users, candidates, top)

    def approximate(self, library: str | None) -> None:
        """Use ``faiss`` or ``usearch`` in ``top``, changes included; ``None``: exact search.

        Worthwhile from hundreds of thousands of articles. Raises ``ValueError`` if the library is
        unknown or scores are not dot products, ``ModuleNotFoundError`` if it is not installed.
        """
        if library is not None and not self.engine.two_towers:
            raise ValueError(
                "approximate expects a score that is a dot product, and this recommender scores in "
                "a way of its own. Keep the exact search."
            )
        self._nearest = None if library is None else Nearest(library)

    def recall(self, histories: Sequence[Sequence[Given]], k: int = 50) -> float:
        """Share of the exact best ``k`` that approximate search finds; ``ValueError`` if exact."""
        if self._nearest is None:
            raise ValueError("recall expects an approximate search. Choose one: approximate.")
        exact, found = self.top_rows(histories, k, exact=True), self.top_rows(histories, k)
        pairs = [(set(a.rows), set(b.rows)) for a, b in zip(exact, found, strict=True)]
        return sum(len(a & b) for a, b in pairs) / sum(len(a) for a, _ in pairs)


def _pool(best: TopOfUser, size: int, pinned: Set[str]) -> list[Ranked]:
    """The best ``size`` articles of a user, and those pinned."""
    every = enumerate(zip(best.ids, best.scores.tolist(), best.rows, strict=True))
    return [Ranked(*each) for place, each in every if place < size or each[0] in pinned]


def _pool_size(k: int, history: Sequence[Given], rerank: ReRanking) -> int:
    """Number of best articles of which ``k`` are left after re-ranking."""
    if not rerank:
        return k
    read = len(history) if any(each.name == "already_read" for each in rerank) else 0
    wanted = min(max(POOL * k, LEAST_POOL), MOST_POOL)
    return max(wanted, k) + read + len(rerank.ids_of("excluded"))


def _rows_of(given: Sequence[Given], keys: list[Key], shelf: Shelf) -> list[int]:
    other = {key for key in keys if isinstance(key, tuple)}
    rows = {key for key in keys if isinstance(key, int)}
    pairs = (each for each in given if not isinstance(each, str))
    rows |= {shelf.rows[name] for name, _ in pairs if name in shelf.rows}
    if other:
        rows |= {row for row, read in enumerate(shelf.read) if read in other}
    return sorted(rows)


def best_first(names: list[str], scores: NDArray[np.float32]) -> list[Ranked]:
    """Sort candidates by score, ties in the given order; ``ValueError`` for NaN."""
    if np.isnan(scores).any():
        raise ValueError(NOT_A_NUMBER.format(names[int(np.isnan(scores).argmax())]))
    order = np.argsort(-scores, kind="stable").tolist()
    values = scores.tolist()
    return [Ranked(names[place], values[place], place) for place in order]
