"""Ragged impressions in memory, and what their readers clicked in the log before."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.files.columns import CONTEXT, CONTEXT_ARTICLE


class RecentClicks(NamedTuple):
    """Clicks of the log by reader and time, and the part of them that each impression knows.

    Shapes:
        articles: ``[clicks]``, int32 news ids, by reader, each reader's oldest first.
        following: ``[clicks]``, place of the reader's next click of the same article; past the
            last place without one.
        starts, stops: ``[impressions]``: clicks ``starts[i] .. stops[i] - 1`` are the reader's
            before impression ``i``.
    """

    articles: NDArray[np.int32]
    following: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        user: NDArray[np.integer],
        timestamp: NDArray[np.int64],
        clicks: tuple[NDArray[np.int64], NDArray[np.integer]],
        delay: int,
        names: NDArray[np.str_],
    ) -> RecentClicks:
        """Clicks known ``delay`` seconds later, of impressions ``[impressions]``.

        ``clicks`` are the row of the impression of each click, and its article; clicks of one
        second are in the order of their articles' ``names``, ``[news]``, as in a service.
        """
        rows, articles = clicks
        by_name = np.empty(len(names), np.int64)
        by_name[np.argsort(names, kind="stable")] = np.arange(len(names))
        order = np.lexsort((by_name[articles], timestamp[rows], user[rows]))
        origin = int(timestamp.min(initial=0))
        bits = int(timestamp.max(initial=0) - origin).bit_length()
        of_reader = user.astype(np.int64) << bits
        keys = (of_reader[rows] + timestamp[rows] - origin)[order]
        until = of_reader + np.maximum(timestamp - origin - delay, 0)
        starts, stops = keys.searchsorted(of_reader), keys.searchsorted(until)
        clicked, reader = articles[order].astype(np.int32), keys >> bits
        together = np.lexsort((clicked, reader))  # clicks of one reader and article, by time
        again = (np.diff(clicked[together]) == 0) & (np.diff(reader[together]) == 0)
        following = np.full(len(clicked), len(clicked))
        following[together[:-1][again]] = together[1:][again]
        return cls(clicked, following, starts, stops)

    def between(self, start: int, stop: int) -> RecentClicks:
        """Those of impressions ``start .. stop - 1``."""
        return self._replace(starts=self.starts[start:stop], stops=self.stops[start:stop])

    def newest(
        self, rows: NDArray[np.int64], width: int, within: int | None = None
    ) -> NDArray[np.int32]:
        """Articles that impressions' readers clicked last, ``[rows, width]``, padded in front.

        Each is once in its row, at the place of its newest click. They are looked for among the
        newest ``within`` clicks first, and among twice as many where that finds too few.
        """
        within = within or width
        if not len(self.articles):
            return np.zeros((len(rows), width), np.int32)
        starts, stops = self.starts[rows, None], self.stops[rows, None]
        places = stops - np.arange(within, 0, -1)
        following = self.following[np.maximum(places, 0)]
        is_newest = (places >= starts) & (following >= stops)
        newest = np.where(is_newest, self.articles[np.maximum(places, 0)], 0)
        newest = _at_the_end(newest, width)
        few = np.flatnonzero((newest[:, 0] == 0) & (places[:, 0] > starts[:, 0]))
        if few.size:
            newest[few] = self.newest(rows[few], width, 2 * within)
        return newest

    def appended(
        self, history: NDArray[np.integer], rows: NDArray[np.int64]
    ) -> NDArray[np.integer]:
        """Histories ``[rows, width]``, then recent clicks of articles that they do not hold."""
        width = history.shape[1]
        recent = self.newest(rows, width)
        is_new = ~(recent[:, :, None] == history[:, None, :]).any(2)
        both = np.concatenate([history, np.where(is_new, recent, 0)], axis=1)
        return _at_the_end(both, width)


def _at_the_end(articles: NDArray[Any], width: int) -> NDArray[Any]:
    """The last ``width`` articles of each row that are not 0, in their order, padded in front."""
    # a stable sort by emptiness moves what is kept to the end
    order = np.argsort(articles != 0, axis=1, kind="stable")[:, -width:]
    return np.take_along_axis(articles, order, axis=1)


UNLABELLED = -1
ROWS_AT_ONCE = 1 << 18  # positions of all clicks at once would take many times their memory
NO_COLUMNS: Mapping[str, NDArray[Any]] = MappingProxyType({})


class CandidateFeatures(NamedTuple):
    """Float32 ``values [candidates.values, features]``, and ``moments [impressions, features]``.

    Columns of ``moments`` are true of the time of an impression, whatever its candidates.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]
    moments: NDArray[np.float32] | None = None

    def between(self, start: int, stop: int, places: slice) -> CandidateFeatures:
        """Features of impressions ``start .. stop - 1``, whose candidates are at ``places``."""
        moments = None if self.moments is None else self.moments[start:stop]
        return CandidateFeatures(self.names, self.values[places], moments)


class Impressions(NamedTuple):
    """Impressions of one or more splits; each is labelled entirely or not at all.

    Shapes:
        impression_id: ``[impressions]``, str, as given.
        user: ``[impressions]``, int32 index.
        timestamp: ``[impressions]``, int64 UTC seconds.
        history: ragged ``[impressions, *]``, int32 news ids, oldest click first, complete.
        candidates: ragged ``[impressions, *]``, int32 news ids.
        labels: ``[candidates.values]``, int8: 1 clicked, 0 unclicked, -1 unlabelled.
        features: of each candidate, if any.
        columns: of the page and the visit, by their names in ``files.columns.CONTEXT``, each
            ``[impressions]``: news id of the page, other names as indices (0: unknown), and numbers
            (NaN: unknown).
        recent: what the reader clicked in the log before each impression, if histories go on.
        reads_page: whether batches have the article of the page.
    """

    impression_id: NDArray[np.str_]
    user: NDArray[np.int32]
    timestamp: NDArray[np.int64]
    history: Ragged
    candidates: Ragged
    labels: NDArray[np.int8]
    features: CandidateFeatures | None = None
    columns: Mapping[str, NDArray[Any]] = NO_COLUMNS
    recent: RecentClicks | None = None
    reads_page: bool = False

    @property
    def rows(self) -> int:
        """Number of impressions."""
        return len(self.user)

    @property
    def labelled(self) -> bool:
        """Whether clicks are known, unlike in a leaderboard's test set."""
        return len(self.labels) > 0 and not bool((self.labels == UNLABELLED).all())

    @property
    def rankable(self) -> bool:
        """Whether an impression has clicked and unclicked candidates."""
        rows = self.candidates.rows_of(np.flatnonzero(self.labels == 1))
        clicks = np.bincount(rows, minlength=self.rows)
        return bool(((clicks > 0) & (clicks < self.candidates.lengths)).any())

    def news_ids(self, history_length: int | None = None) -> NDArray[np.int64]:
        """Ascending distinct ids of candidates and newest (``None``: all) clicks."""
        largest = max(int(ids.values.max(initial=0)) for ids in (self.candidates, self.history))
        marked = np.zeros(1 + largest, dtype=bool)  # sorting millions of ids takes seconds
        for start in range(0, self.rows, ROWS_AT_ONCE):
            rows = start, min(start + ROWS_AT_ONCE, self.rows)
            clicks = self.history.between(*rows)
            marked[self.candidates.between(*rows).values] = True
            marked[(clicks if history_length is None else clicks.last(history_length)).values] = (
                True
            )
        marked[0] = False  # padding
        ids = np.flatnonzero(marked)
        if self.recent is not None:
            ids = np.union1d(ids, self.recent.articles)
        if self.reads_page:
            pages = np.unique(self.columns[CONTEXT_ARTICLE])
            ids = np.union1d(ids, pages[pages != 0])
        return ids.astype(np.int64)

    def clicked(self, rows: NDArray[np.int64], width: int) -> NDArray[np.integer]:
        """The newest clicks of readers, padded in front with 0, ``[rows, width]``.

        Those of the history, then recent ones of other articles.
        """
        history = self.history.newest(rows, width)
        return history if self.recent is None else self.recent.appended(history, rows)

    def between(self, start: int, stop: int) -> Impressions:
        """Impressions ``start .. stop - 1``, as views."""
        places = slice(*self.candidates.offsets[[start, stop]])
        features = self.features
        return Impressions(
            self.impression_id[start:stop],
            self.user[start:stop],
            self.timestamp[start:stop],
            self.history.between(start, stop),
            self.candidates.between(start, stop),
            self.labels[places],
            features and features.between(start, stop, places),
            {name: column[start:stop] for name, column in self.columns.items()},
            self.recent and self.recent.between(start, stop),
            self.reads_page,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What the files say, as flat arrays of which blocks can be concatenated."""
        return {
            "impression_id": self.impression_id,
            "user": self.user,
            "timestamp": self.timestamp,
            "history": self.history.values,
            "history_lengths": self.history.lengths,
            "candidates": self.candidates.values,
            "candidates_lengths": self.candidates.lengths,
            "labels": self.labels,
            **self.columns,
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Impressions:
        """The inverse of ``arrays``, after ``with_offsets``."""
        return cls(
            arrays["impression_id"],
            arrays["user"],
            arrays["timestamp"],
            Ragged(arrays["history"], arrays["history_offsets"]),
            Ragged(arrays["candidates"], arrays["candidates_offsets"]),
            arrays["labels"],
            columns={name: arrays[name] for name in CONTEXT if name in arrays},
        )


def with_offsets(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Flat arrays of impressions, with offsets in the place of lengths."""
    for name in ("history", "candidates"):
        lengths = arrays.pop(f"{name}_lengths")
        arrays[f"{name}_offsets"] = Ragged.from_lengths(arrays[name], lengths).offsets
    return arrays


class Clicks(NamedTuple):
    """Training clicks: those of impressions with an unclicked candidate.

    ``impression``, ``[clicks]``, are rows, ``position``, ``[clicks]``, places in
    ``candidates.values``; ``without_negatives`` is the number of clicks left out.
    """

    impression: NDArray[np.int64]
    position: NDArray[np.int64]
    without_negatives: int


def clicks_of(impressions: Impressions, since: float = 0) -> Clicks:
    """Training samples of a split, one per click, of impressions from UTC second ``since`` on."""
    clicked = np.flatnonzero(impressions.labels == 1)
    rows = impressions.candidates.rows_of(clicked)
    if since:
        new = impressions.timestamp[rows] >= since
        clicked, rows = clicked[new], rows[new]
    clicks = np.bincount(rows, minlength=impressions.rows)
    usable = (clicks < impressions.candidates.lengths)[rows]
    return Clicks(rows[usable], clicked[usable], int((~usable).sum()))


class ArticleFacts(NamedTuple):
    """Category index (0: unknown) and clicks in training impressions by news id, ``[news]``."""

    category: NDArray[np.integer]
    clicks: NDArray[np.int64]

    @classmethod
    def of(cls, category: NDArray[np.integer], training: Impressions) -> ArticleFacts:
        """Facts of articles with these categories, ``[news]``."""
        clicked = training.candidates.values[training.labels == 1]
        return cls(category, np.bincount(clicked, minlength=len(category)))

    @property
    def articles(self) -> int:
        """Number of articles without padding."""
        return len(self.category) - 1
