"""Articles: texts, vectors, and what is counted of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_tinynews.evaluation.rerank import RerankError
from recbole_tinynews.files.columns import GROUPS
from recbole_tinynews.files.progress import progress_bar
from recbole_tinynews.serving.data_set_files import DataSetTexts
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.live_counters import Added, LiveCounters, Moment
from recbole_tinynews.serving.lookup import Key, KnownVectors, Lookup
from recbole_tinynews.serving.news_index import NewsIndex, Shelf, read_shelf, save_shelf
from recbole_tinynews.serving.news_table import articles_of, published_in
from recbole_tinynews.serving.reading import Content, Read, check_content
from recbole_tinynews.serving.requests import Given, id_of, name_of

ARTICLES_AT_ONCE = 1_000  # per step of the progress bar
KEPT_VECTORS = 100_000  # of the most recently used articles; 150 MB at news_dim 384


class KnownArticles:
    """Encodes articles, keeps those that are added by id, and knows their counters; thread-safe.

    ``counters``: clicks and exposures up to now; ``None``: they are not counted.
    """

    counters: LiveCounters | None = None

    def __init__(self, engine: Engine, data_path: str | Path | None = None) -> None:
        self.engine, self.reading = engine, engine.reading
        self._index = NewsIndex()
        data_set = DataSetTexts(engine.settings["dataset"], engine.reading, data_path)
        self._data_set, self._lookup = data_set, Lookup(engine.reading, data_set)
        self._groups: dict[str, Mapping[str, str]] = {}  # by column, by id of added articles
        self._known = KnownVectors(self._encode, KEPT_VECTORS)
        nothing = np.empty(0, np.int64)
        self._numbered: tuple[LiveCounters | None, Sequence[str], Any] = None, (), nothing

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
            self.counters.publish(published_in(news))

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

    def _group(
        self, column: str, articles: Sequence[Given], are_titles: bool, shelf: Shelf
    ) -> list[str]:
        """A column of articles, such as their category; ``RerankError`` if none is known."""
        values = [self._groups_of(each, are_titles, shelf).get(column, "") for each in articles]
        if not any(values) and not any(column in each for each in [*self._groups.values()]):
            raise RerankError(
                f"rerank: at_most expects the {column} of articles, and none is known. Add it to "
                "their fields, or leave the limit out."
            )
        return values

    def _groups_of(self, article: Given, are_titles: bool, shelf: Shelf) -> Mapping[str, str]:
        if not isinstance(article, str):
            own = {} if isinstance(article[1], str) else article[1]
            return {**self._groups.get(id_of(article), {}), **own}
        if article in shelf.rows:
            return self._groups.get(article, {})
        return {} if are_titles else self._data_set.groups(article)

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
        if {*map(type, keys)} != {int}:  # not all are added articles
            ids = [*map(id_of if are_titles else name_of, candidates)]
            return self._counters().known_numbers(ids)
        return self._numbers_on(shelf)[np.fromiter(keys, np.int64, len(keys))]

    def _numbers_on(self, shelf: Shelf) -> NDArray[np.int64]:
        """Numbers of all articles of a shelf, kept: each look-up of a string misses the cache."""
        counters, (counters_then, ids, numbers) = self._counters(), self._numbered
        if counters_then is not counters or ids is not shelf.ids:
            numbers = counters.numbers(shelf.ids)
            self._numbered = counters, shelf.ids, numbers
        return numbers

    def _features(
        self, candidates: Sequence[NDArray[np.int64]], moments: Sequence[Moment]
    ) -> NDArray[np.float32]:
        counters, counting = self._counters(), self.engine.counting
        assert counting is not None
        return counters.features(counting, candidates, moments)

    def _counters(self) -> LiveCounters:
        if self.engine.counting is None:
            raise ValueError(
                "at expects a recommender that was trained with popularity, and this one ranks by "
                "text alone when it is loaded. Train one with --popularity=added."
            )
        if self.counters is None:
            raise ValueError("at expects counters: load(folder, store=FILE), or give it some.")
        return self.counters


def _chunks(articles: list[Read], show_progress: bool) -> Iterator[list[Read]]:
    shown = show_progress and len(articles) > ARTICLES_AT_ONCE
    with progress_bar(desc="Encode news", shown=shown, total=len(articles), unit=" news") as bar:
        for start in range(0, len(articles), ARTICLES_AT_ONCE):
            some = articles[start : start + ARTICLES_AT_ONCE]
            yield some
            bar.update(len(some))
