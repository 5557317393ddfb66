"""Ranks news articles with a finished recommender."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_tinynews.bars import progress_bar
from recbole_tinynews.data.popularity import with_context
from recbole_tinynews.files.columns import GROUPS
from recbole_tinynews.rerank import VECTORS, Candidates, RerankError, ReRanking
from recbole_tinynews.serving.data_set_files import DataSetTexts
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.live_counters import Added, LiveCounters, Moment
from recbole_tinynews.serving.lookup import Key, KnownVectors, Lookup
from recbole_tinynews.serving.nearest import Nearest
from recbole_tinynews.serving.news_index import (
    NOT_A_NUMBER,
    NewsIndex,
    Shelf,
    TopOfUser,
    read_shelf,
    save_shelf,
)
from recbole_tinynews.serving.news_table import articles_of, published_in
from recbole_tinynews.serving.reading import Content, Read, check_content
from recbole_tinynews.serving.requests import (
    Given,
    User,
    histories_of,
    id_of,
    moments_of,
    name_of,
    users_of,
)
from recbole_tinynews.serving.scores import Scorer

if TYPE_CHECKING:
    import pandas as pd

USERS_AT_ONCE = 256
SCORES_AT_ONCE = 32_000_000  # users times articles: 128 MB
COUNTERS_OF_A_SCORE = 20  # about: age and two per window, and as many for the context
ARTICLES_AT_ONCE = 1_000  # per step of the progress bar
POOL, LEAST_POOL, MOST_POOL = 10, 100, 1_000  # articles that `top` re-ranks: per wanted; bounds
KEPT_VECTORS = 100_000  # of the most recently used articles; 150 MB at news_dim 384


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


class Ranker:
    """Ranks candidates for users by their clicks; ``recbole_tinynews.load`` creates it.

    Scores equal those of evaluation in fp32. Vectors of added articles and the last
    ``KEPT_VECTORS`` others stay in memory. Thread-safe.

    An article is a title, an id (added, or of the data set), a mapping of fields (``title``,
    ``abstract``, ``body``, ``category``, ``subcategory``, ``source``, optionally ``id``), or a
    tuple ``(id, title or fields)``. Unread fields are ignored, missing ones are empty; an unknown
    category counts as none.

    ``counters``: clicks and exposures up to now, for ``at``; ``None``: it ranks by text alone.
    """

    counters: LiveCounters | None = None

    def __init__(self, engine: Engine, data_path: str | Path | None = None) -> None:
        self.settings: Mapping[str, Any] = engine.settings
        self.engine, self.reading = engine, engine.reading
        self._index = NewsIndex()
        self._nearest: Nearest | None = None
        data_set = DataSetTexts(engine.settings["dataset"], engine.reading, data_path)
        self._data_set, self._lookup = data_set, Lookup(engine.reading, data_set)
        self._groups: dict[str, Mapping[str, str]] = {}  # by column, by id of added articles
        self._known = KnownVectors(self._encode, KEPT_VECTORS)
        self._scorer = Scorer(engine, self._known)

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
            scores = self._scorer.scores(parts[0::2], parts[1::2], shelf, counters)
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
        groups = [self._groups_of(each, are_titles, shelf) for each in user.candidates]
        columns: dict[str, Any] = {}
        for name in rerankers.needs:
            if name == VECTORS:
                columns[name] = self._scorer.vectors(keys, shelf)
                continue
            columns[name] = [each.get(name, "") for each in groups]
            if not any(columns[name]) and not any(name in e for e in [*self._groups.values()]):
                raise RerankError(
                    f"rerank: at_most expects the {name} of articles, and none is known. Add it to "
                    "their fields, or leave the limit out."
                )
        scores, clicked = [each.score for each in given], {*map(name_of, user.history)}
        of = Candidates([each.candidate for each in given], np.array(scores), clicked, columns)
        *_, order = rerankers.orders([each.place for each in ranked], of)
        return [given[place] for place in order]

    def _groups_of(self, article: Given, are_titles: bool, shelf: Shelf) -> Mapping[str, str]:
        if not isinstance(article, str):
            return {} if isinstance(article[1], str) else article[1]
        if article in shelf.rows:
            return self._groups.get(article, {})
        return {} if are_titles else self._data_set.groups(article)

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
        most = least if least < 1 else len(shelf.ids) if any(pinned) else max(pools, default=1)
        how |= {"exact": any(pinned), "shelf": shelf}  # an approximate search may miss pinned ones
        found = []
        for user, best in enumerate(self.top_rows(histories, most, **how)):
            every = zip(best.ids, best.scores.tolist(), best.rows, strict=True)
            pool = [
                Ranked(*each)
                for place, each in enumerate(every)
                if place < pools[user] or each[0] in pinned[user]
            ]
            if rerank[user]:
                names: list[Given] = [each.candidate for each in pool]
                rows: list[Key] = [each.place for each in pool]
                given = [each._replace(place=place) for place, each in enumerate(pool)]
                about = User([*histories[user]], names), rows, False, shelf
                ranked = self._reranked(rerank[user], given, *about)
                pool = [pool[each.place] for each in ranked]
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
        size = len(shelf.ids) * (1 if moments is None else COUNTERS_OF_A_SCORE)
        step = max(1, min(USERS_AT_ONCE, SCORES_AT_ONCE // size))
        for start in range(0, len(histories), step):
            some = histories[start : start + step]
            keys = self._lookup.keys(some, ids, shelf)
            left_out = [
                _rows_of(*each, shelf) if leave_out_clicked else []
                for each in zip(some, keys, strict=True)
            ]
            counters = None
            if moments is not None:
                every = self._counters().numbers(shelf.ids, keep=True)
                counters = self._features([every] * len(some), moments[start:][: len(some)])
            for rows, scores in self._scorer.best(keys, left_out, k, shelf, nearest, counters):
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
        return self._scorer.click_weights(clicks, shelf) if clicks else []

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
        ((history, candidates),), _ = users_of(history, candidates)
        shelf = shelf or self.shelf
        clicks, shown = self._lookup.keys([history, candidates], ids, shelf)
        if of_top:
            every = self._counters().numbers(shelf.ids, keep=True)
            counters = self._features([every], [Moment.of(at, user)])
            counters = counters[[shelf.rows[name_of(each)] for each in candidates]]
        else:
            numbers = self._numbers(candidates, shown, ids is False, shelf)
            counters = self._features([numbers], [Moment.of(at, user)])
        parts = self._scorer.contributions(clicks, shown, shelf, counters)
        return None if parts is None else [*map(Contributions._make, parts.tolist())]

    @property
    def knows_time(self) -> bool:
        """Whether ``at`` can be given."""
        return self.counters is not None and self.engine.counting is not None

    def add_events(self, events: Iterable[Any], now: float | None = None) -> Added:
        """Count exposures and clicks of added articles, as ``LiveCounters.add`` describes."""
        return self._counters().add(events, self, now)

    def _numbers(
        self, candidates: Sequence[Given], keys: list[Key], are_titles: bool, shelf: Shelf
    ) -> NDArray[np.int64]:
        """Numbers of candidates for ``_features``."""
        counters = self._counters()
        try:
            rows = np.fromiter(keys, np.int64, len(keys))
        except TypeError:  # not all are added articles
            return counters.numbers([*map(id_of if are_titles else name_of, candidates)])
        return counters.numbers(shelf.ids, keep=True)[rows]

    def _features(
        self, candidates: Sequence[NDArray[np.int64]], moments: Sequence[Moment]
    ) -> NDArray[np.float32]:
        counters, counting = self._counters(), self.engine.counting
        assert counting is not None
        sizes = np.array([len(each) for each in candidates], np.int64)
        return with_context(counters.features(counting, candidates, moments), sizes)

    def _counters(self) -> LiveCounters:
        if self.engine.counting is None:
            raise ValueError(
                "at expects a recommender that was trained with popularity, and this one ranks by "
                "text alone when it is loaded. Train one with --popularity=added."
            )
        if self.counters is None:
            raise ValueError("at expects counters: load(folder, store=FILE), or give it some.")
        return self.counters

    def rank_table(
        self,
        users: pd.DataFrame,
        candidates: pd.DataFrame | str | None = None,
        top: int | None = None,
    ) -> pd.DataFrame:
        """Rank for a table of users, as described in ``serving.table.rank_table``."""
        from recbole_tinynews.serving.table import rank_table  # pandas takes time to import

        return rank_table(self, users, candidates, top)

    def encode(self, titles: Sequence[Content]) -> NDArray[np.float32]:
        """Vectors of titles or fields, ``[titles, news_dim]``, cached like those of ``rank``."""
        articles = self._read(titles)
        if not articles:
            return self._encode([]).cpu().numpy()
        number = {each: place for place, each in enumerate(dict.fromkeys(articles))}
        return self._known([*number])[[number[each] for each in articles]].cpu().numpy()

    def warm_up(self, titles: Iterable[Content], show_progress: bool = True) -> None:
        """Encode titles or fields without ids in advance; the last ``KEPT_VECTORS`` are kept."""
        distinct = list(dict.fromkeys(self._read(titles)))
        for some in _chunks(distinct[-self._known.capacity :], show_progress):
            self._known(some)

    def add_news(self, news: Any, show_progress: bool = True) -> None:
        """Encode articles and keep them by id, for ``top`` and ``rank``; a known id is replaced.

        ``news`` is a DataFrame with ``id`` (or ``item_id``, ``news_id``), ``title``, other fields
        and perhaps ``published`` (UTC seconds); a mapping from ids to titles or fields; or pairs.

        Raises:
            ValueError: missing column, empty or repeated id, or unknown field.
            TypeError: unsupported type, or an id or field that is not a string.
        """
        self.add_articles(*articles_of(news, self.reading.fields), show_progress)
        if self.counters is not None:
            self.counters.publish(dict.fromkeys(self.news_ids, np.nan) | published_in(news))

    def add_articles(
        self, ids: Sequence[str], contents: Iterable[Content], show_progress: bool = False
    ) -> None:
        """``add_news`` for ``articles_of``; known articles with equal texts keep their vectors."""
        contents = [*contents]
        for name, content in zip(ids, contents, strict=True):
            fields: Mapping[str, str] = {} if isinstance(content, str) else content
            self._groups[name] = {c: fields[c] for c in GROUPS if fields.get(c)}
        shelf, articles = self.shelf, [*map(self.reading.read, contents)]
        rows = [shelf.rows.get(name, -1) for name in ids]
        pairs = zip(rows, articles, strict=True)
        same = np.array([row >= 0 and shelf.read[row] == read for row, read in pairs], bool)
        if same.all() and rows == [*range(len(shelf.ids) - len(rows), len(shelf.ids))]:
            return  # they are the last ones already, in this order
        new = [read for read, known in zip(articles, same.tolist(), strict=True) if not known]
        vectors = [self._encode(some) for some in _chunks(new, show_progress)]
        if same.any():
            order = np.argsort(np.argsort(~same, kind="stable"))  # back from known ones first
            vectors = [torch.cat([shelf.vectors[np.array(rows)[same]], *vectors])[order]]
        self._index.add(ids, articles, torch.cat(vectors))

    def forget(self, ids: Sequence[str]) -> None:
        """Remove added articles; ``ValueError`` for an unknown id."""
        unknown = [each for each in ids if each not in self]
        if unknown:
            raise ValueError(
                f"forget expects ids of articles that were added, got {unknown[0]!r}"
                f"{f' and {len(unknown) - 1} more unknown ones' if len(unknown) > 1 else ''}."
            )
        self._index.forget(ids)
        for each in ids:
            self._groups.pop(each, None)

    @property
    def shelf(self) -> Shelf:
        """Snapshot of the added articles and their vectors."""
        return self._index.shelf

    @property
    def news_ids(self) -> tuple[str, ...]:
        """Ids of the added articles, in order."""
        return self.shelf.ids

    def __contains__(self, news_id: object) -> bool:
        return news_id in self.shelf.rows

    def save_index(self, path: str | Path) -> None:
        """Write the added articles and their vectors to one file."""
        save_shelf(self.shelf, self.engine.identity, Path(path))

    def load_index(self, path: str | Path) -> None:
        """Add articles of ``save_index``; ``ValueError`` if damaged or another recommender's."""
        ids, articles, vectors = read_shelf(Path(path), self.engine.identity)
        self._index.add(ids, articles, vectors.to(self.engine.device))

    def titles(self, ids: Sequence[str]) -> list[Any]:
        """Texts of articles, or fields if it reads several views; ``ValueError``: an unknown id."""
        return [*map(self.reading.content, self._lookup.read(ids, self.shelf))]

    def _read(self, contents: Iterable[Content]) -> list[Read]:
        given = list(contents)
        for each in given:
            check_content(each)
        return [*map(self.reading.read, given)]

    def _encode(self, articles: Sequence[Read]) -> torch.Tensor:
        return self.engine.encode(self.reading.columns(articles))

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


def _chunks(articles: list[Read], show_progress: bool) -> Iterator[list[Read]]:
    shown = show_progress and len(articles) > ARTICLES_AT_ONCE
    with progress_bar(desc="Encode news", shown=shown, total=len(articles), unit=" news") as bar:
        for start in range(0, len(articles), ARTICLES_AT_ONCE):
            some = articles[start : start + ARTICLES_AT_ONCE]
            yield some
            bar.update(len(some))


def best_first(names: list[str], scores: NDArray[np.float32]) -> list[Ranked]:
    """Sort candidates by score, ties in the given order; ``ValueError`` for NaN."""
    if np.isnan(scores).any():
        raise ValueError(NOT_A_NUMBER.format(names[int(np.isnan(scores).argmax())]))
    order = np.argsort(-scores, kind="stable").tolist()
    values = scores.tolist()
    return [Ranked(names[place], values[place], place) for place in order]
