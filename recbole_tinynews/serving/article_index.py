"""Articles as callers give them, and those that a ranker knows by id, with their vectors."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.data.popularity import LATEST
from recbole_tinynews.evaluation.rerank import RerankError
from recbole_tinynews.files.columns import ABSTRACT, BODY, GROUPS, ID, ID_COLUMNS, PUBLISHED, TITLE
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.serving.engine import Batch, Engine, category_ids
from recbole_tinynews.serving.live_counters import LiveCounters
from recbole_tinynews.settings.values import suggest

ARTICLES_AT_ONCE = 1_000  # per step of the progress bar
CACHED_VECTORS = 100_000  # of the most recently used articles; 150 MB at news_dim 384
FAR = 1 << 40  # more articles than there are
FIELDS = (TITLE, ABSTRACT, BODY, *GROUPS)
# of all indexes, which are sent to other processes, as a lock cannot be; never held for long
CHANGING, USING = threading.Lock(), threading.Lock()

FieldTuple = tuple[str, ...]
"""The fields that a recommender reads of an article: equal ones have equal vectors."""


class ArticleInput(NamedTuple):
    """An article for a recommender: its id, the fields that it reads, and the values of GROUPS."""

    id: str
    fields: FieldTuple
    groups: tuple[str, ...]


Given = str | Mapping[str, str]
"""The id of an added article, or fields by their names, perhaps with an ``id``."""

Resolved = int | ArticleInput
"""An article to rank: a row of the index, or any other article."""


class UnknownArticleError(ValueError):
    """A question about an article that was not added; ``where`` it is named, if it is."""

    def __init__(self, why: str, where: Sequence[str | int] = ()) -> None:
        super().__init__(why)
        self.where = where


def check_fields(fields: Mapping[str, str], of: str = "") -> None:
    """``ValueError`` for an unknown field or no title; ``TypeError`` for what is no string."""
    for name, value in fields.items():
        if name not in (ID, *FIELDS):
            raise ValueError(
                f"An article expects {', '.join(FIELDS)} and perhaps {ID}, got {name!r:.100}."
                f"{suggest(str(name), FIELDS)}"
            )
        if not isinstance(value, str):
            raise TypeError(f"An article expects texts, got {value!r:.100} as {name}{of}.")
    if TITLE not in fields:
        raise ValueError(f"An article expects a {TITLE}, got {', '.join(fields) or 'nothing'}.")


def name_of(article: Given) -> str:
    """The id or title given."""
    return article if isinstance(article, str) else article.get(ID) or article[TITLE]


class IndexSnapshot(NamedTuple):
    """The added articles at one moment, which threads read without a lock."""

    ids: tuple[str, ...]
    articles: tuple[ArticleInput, ...]
    rows: Mapping[str, int]  # by id
    vectors: Tensor  # [articles, dim]
    categories: Tensor  # [articles, 2], as ``category_ids``

    def rows_of(self, articles: Sequence[Resolved]) -> list[int]:
        """Rows of these articles, found by id or equal fields."""
        rows = {article for article in articles if isinstance(article, int)}
        others = [article for article in articles if not isinstance(article, int)]
        rows |= {self.rows[article.id] for article in others if article.id in self.rows}
        if fields := {article.fields for article in others}:
            rows |= {row for row, article in enumerate(self.articles) if article.fields in fields}
        return sorted(rows)

    def group(self, column: str, articles: Sequence[Resolved]) -> list[str]:
        """A column of ``GROUPS``, empty where unknown; ``RerankError`` if none is known at all."""
        at = GROUPS.index(column)
        values = [(self.articles[a] if isinstance(a, int) else a).groups[at] for a in articles]
        if not any(values) and not any(article.groups[at] for article in self.articles):
            raise RerankError(
                f"rerank: at_most expects the {column} of articles, and none is known. Add it to "
                "their fields, or leave the limit out."
            )
        return values


class ArticleIndex:
    """Adds, finds and encodes articles; thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._vectors: OrderedDict[FieldTuple, Tensor] = OrderedDict()  # most recently used last
        none = self._encode([])
        self.snapshot = IndexSnapshot((), (), {}, none, category_ids([], none.device))
        self._numbered: tuple[Any, Any, Any] = None, None, None  # counters, ids, their numbers

    def __contains__(self, article_id: object) -> bool:
        return article_id in self.snapshot.rows

    def add(self, news: Mapping[str, Mapping[str, str]], show_progress: bool = False) -> None:
        """Add checked fields by id; known ids are replaced and move to the end.

        Articles whose fields are unchanged keep their vectors.
        """
        if not news:
            return
        old, articles = self.snapshot, [self.article(*item) for item in news.items()]
        rows = np.array([old.rows.get(name, -1) for name in news])
        for place in np.flatnonzero(rows >= 0):
            if old.articles[rows[place]].fields != articles[place].fields:
                rows[place] = -1
        vectors = old.vectors.new_empty(len(articles), old.vectors.shape[1])
        vectors[rows >= 0] = old.vectors[rows[rows >= 0]]
        new = np.flatnonzero(rows < 0)
        shown = show_progress and len(new) > ARTICLES_AT_ONCE
        with progress_bar(desc="Encode news", shown=shown, total=len(new), unit=" news") as bar:
            for start in range(0, len(new), ARTICLES_AT_ONCE):
                some = new[start : start + ARTICLES_AT_ONCE]
                vectors[some] = self._encode([articles[place].fields for place in some])
                bar.update(len(some))
        self._replace(set(news), articles, vectors)

    def forget(self, ids: Sequence[str]) -> None:
        """Remove added articles, the others keep their order; ``ValueError`` for an unknown id."""
        unknown = [article_id for article_id in ids if article_id not in self]
        if unknown:
            raise ValueError(
                f"forget expects ids of articles that were added, got {unknown[0]!r}"
                f"{f' and {len(unknown) - 1} more unknown ones' if len(unknown) > 1 else ''}."
            )
        if ids:
            self._replace(set(ids), [], self.snapshot.vectors[:0])

    def _replace(self, gone: set[str], articles: Sequence[ArticleInput], vectors: Tensor) -> None:
        """Remove articles and append others, with vectors ``[articles, dim]``, at one moment."""
        with CHANGING:
            old = self.snapshot
            kept = [row for row, name in enumerate(old.ids) if name not in gone]
            every = (*(old.articles[row] for row in kept), *articles)
            ids = tuple(article.id for article in every)
            rows = {name: row for row, name in enumerate(ids)}
            at = kept if len(kept) < len(old.ids) else slice(None)  # which copies nothing
            categories = category_ids((article.groups for article in articles), vectors.device)
            tables = (old.vectors, vectors), (old.categories, categories)
            joined = (torch.cat([table[at], added]) for table, added in tables)
            self.snapshot = IndexSnapshot(ids, every, rows, *joined)

    def resolve(
        self, lists: Sequence[Sequence[Given]], snapshot: IndexSnapshot
    ) -> list[list[Resolved]]:
        """Find histories and candidates, in turns; ``UnknownArticleError`` for unknown ids."""
        rows = snapshot.rows
        try:
            return [
                [rows[a] if isinstance(a, str) else self._input(a, snapshot) for a in part]
                for part in lists
            ]
        except KeyError:
            unknown = [
                (("history", "candidates")[number % 2], place, article)
                for number, part in enumerate(lists)
                for place, article in enumerate(part)
                if isinstance(article, str) and article not in rows
            ]
            field, place, article = unknown[0]
            raise UnknownArticleError(
                f"Ids of the {len(rows):,} articles that were added are expected, got "
                f"{article!r:.100}{f' and {len(unknown) - 1} more' if unknown[1:] else ''}. Add "
                f'the article (add_news, PUT /news), or give its text: {{"title": ...}}.',
                [field, place],
            ) from None

    def article(self, article_id: str, fields: Mapping[str, str]) -> ArticleInput:
        """What the recommender needs of checked fields."""
        parts = (tuple(fields.get(n, "") for n in names) for names in (self.engine.reads, GROUPS))
        return ArticleInput(article_id, *parts)

    def _input(self, fields: Mapping[str, str], snapshot: IndexSnapshot) -> ArticleInput:
        """Unknown groups are those of the added article with this id."""
        article = self.article(fields.get(ID, ""), fields)
        row = snapshot.rows.get(article.id)
        if row is None:
            return article
        both = zip(article.groups, snapshot.articles[row].groups, strict=True)
        return article._replace(groups=tuple(own or added for own, added in both))

    def encode(self, articles: Iterable[FieldTuple]) -> Tensor:
        """Vectors of articles, ``[articles, dim]``; the last ``CACHED_VECTORS`` are kept."""
        articles = [*articles]
        if not articles:
            return self.snapshot.vectors[:0]
        with USING:  # never while articles are encoded
            found = {each: self._vectors[each] for each in articles if each in self._vectors}
        new = [fields for fields in dict.fromkeys(articles) if fields not in found]
        for start in range(0, len(new), ARTICLES_AT_ONCE):
            some = new[start : start + ARTICLES_AT_ONCE]
            # a clone, since a row would keep all of its batch
            found |= zip(some, (vector.clone() for vector in self._encode(some)), strict=True)
        with USING:
            for fields in articles:
                self._vectors[fields] = found[fields]
                self._vectors.move_to_end(fields)
            while len(self._vectors) > CACHED_VECTORS:
                self._vectors.popitem(last=False)
        return torch.stack([found[fields] for fields in articles])

    def batch(
        self,
        histories: Sequence[Sequence[Resolved]],
        candidates: Sequence[Sequence[Resolved]],
        snapshot: IndexSnapshot,
        pages: Sequence[str] = (),
    ) -> Batch:
        """Vectors of users' clicks and candidates, each article's once.

        ``pages``: ids of the articles that users are reading; unknown ones are none.
        """
        # rows of added articles; others have lower numbers, in the order given
        others: dict[tuple[FieldTuple, tuple[str, ...]], int] = {}
        numbers = [
            each if isinstance(each, int) else others.setdefault(each[1:], len(others) - FAR)
            for articles in (*histories, *candidates)
            for each in articles
        ]
        on_page = np.array([snapshot.rows.get(page, -1) for page in pages], np.int64)
        numbers += on_page[on_page >= 0].tolist()
        distinct, places = np.unique(np.array(numbers, np.int64), return_inverse=True)
        sizes = [[*map(len, lists)] for lists in (histories, candidates)]
        bounds = np.cumsum([0, *sizes[0], sum(sizes[1])])
        places += 1
        width = self.engine.settings["history_length"]
        newest = np.zeros((len(histories), width), np.int64)
        for row, start, stop in zip(newest, bounds, bounds[1:], strict=False):
            clicks = places[max(start, stop - width) : stop]
            row[width - len(clicks) :] = clicks
        of_pages = np.zeros(len(pages), np.int64)
        of_pages[on_page >= 0] = places[bounds[-1] :]
        at = torch.from_numpy(distinct[len(others) :]).to(snapshot.vectors.device)
        encoded = self.encode(fields for fields, _ in others)
        nothing = encoded.new_zeros(1, encoded.shape[1])
        vectors = torch.cat([nothing, encoded, snapshot.vectors[at]])
        given = category_ids([("", ""), *(groups for _, groups in others)], vectors.device)
        categories = torch.cat([given, snapshot.categories[at]])
        shown = places[bounds[-2] : bounds[-1]]
        arrays = newest, shown, np.array(sizes[1], np.int64), of_pages
        tensors = (torch.from_numpy(array).to(vectors.device) for array in arrays)
        return Batch(vectors, categories, *tensors)

    def numbers(
        self,
        articles: Sequence[Resolved] | None,
        snapshot: IndexSnapshot,
        counters: LiveCounters,
    ) -> NDArray[np.int64]:
        """Numbers of articles in the counters, -1 for titles; ``None``: of all added ones."""
        if articles is not None and {*map(type, articles)} != {int}:
            ids = [snapshot.ids[a] if isinstance(a, int) else a.id for a in articles]
            return counters.known_numbers(ids)
        of_counters, of_ids, numbers = self._numbered
        if of_counters is not counters or of_ids is not snapshot.ids:
            numbers = counters.numbers(snapshot.ids)  # kept: each look-up misses the cache
            self._numbered = counters, snapshot.ids, numbers
        if articles is None:
            return numbers
        return numbers[np.fromiter(articles, np.int64, len(articles))]

    def _encode(self, articles: Sequence[FieldTuple]) -> Tensor:
        columns = {n: [each[at] for each in articles] for at, n in enumerate(self.engine.reads)}
        return self.engine.encode(columns)


def articles_of(
    news: Any, names: Collection[str], kept: Collection[str] = GROUPS
) -> dict[str, Mapping[str, str]]:
    """Fields by id of ``Ranker.add_news``'s argument; of a table, ``names`` and ``kept``."""
    if not isinstance(news, (pd.DataFrame, Mapping)):
        raise TypeError(f"Articles expect a table, or ids to titles or fields, got {news!r:.100}.")
    read = {TITLE, *names}
    pairs = _pairs_of_table(news, read, kept) if isinstance(news, pd.DataFrame) else news.items()
    articles: dict[str, Mapping[str, str]] = {}
    for row, (article_id, content) in enumerate(pairs):
        fields = content if isinstance(content, Mapping) else {TITLE: content}
        check_fields({ID: article_id, **fields}, of=f" of article {row} (from 0)")
        if not article_id or article_id in articles:
            raise ValueError(
                f"Articles expect unique ids that are not empty, got {article_id!r}"
                f"{' twice' if article_id else ''} (article {row}, from 0)."
            )
        articles[article_id] = fields
    return articles


def _pairs_of_table(table: pd.DataFrame, read: set[str], kept: Collection[str]) -> Iterable[Any]:
    id_columns = [name for name in ID_COLUMNS if name in table.columns]
    if not id_columns or TITLE not in table.columns:
        raise ValueError(
            f"A table of articles expects the columns {' or '.join(ID_COLUMNS)}, and "
            f"{TITLE}, got {', '.join(map(str, table.columns)) or 'none'}. Rename them."
        )
    names = [name for name in FIELDS if name in table.columns and name in read.union(kept)]
    texts = table[names].copy()
    for name in {*names} - read:  # a number is a name, a gap is unknown
        texts[name] = [str(v) if isinstance(v, (str, int)) else "" for v in texts[name]]
    return zip(table[id_columns[0]].tolist(), texts.to_dict("records"), strict=True)


def published_in(news: Any) -> dict[str, float]:
    """Publication times of a table's articles by id, UTC seconds; ``ValueError`` if no numbers."""
    if not isinstance(news, pd.DataFrame) or PUBLISHED not in news.columns:
        return {}
    ids = next(news[name] for name in ID_COLUMNS if name in news.columns)
    times = pd.to_numeric(news[PUBLISHED], errors="coerce")
    has_time = news[PUBLISHED].notna() & (news[PUBLISHED] != "")
    wrong = news[PUBLISHED][has_time & ~times.between(0, LATEST)]
    if len(wrong):
        raise ValueError(
            f"{PUBLISHED} of articles expects UTC seconds, got {wrong.iloc[0]!r:.100}."
        )
    return dict(zip(ids[has_time], times[has_time].astype(float), strict=True))
