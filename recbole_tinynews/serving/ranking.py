"""Ranks news articles for users by a finished recommender.

Articles are new titles, ids of its data set, or ids of articles that were added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_tinynews.bars import progress_bar
from recbole_tinynews.data.dataloader import id_tensor
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.serving.approximate import Nearest
from recbole_tinynews.serving.data_set_texts import DataSetTexts
from recbole_tinynews.serving.engine import Engine
from recbole_tinynews.serving.known_vectors import KnownVectors
from recbole_tinynews.serving.news_index import (
    Best,
    NewsIndex,
    Shelf,
    TopOfUser,
    best_rows,
    read_shelf,
    save_shelf,
)
from recbole_tinynews.serving.news_table import articles_of
from recbole_tinynews.serving.reading import Content
from recbole_tinynews.serving.requests import Given, histories_of, name_of, users_of

if TYPE_CHECKING:
    import pandas as pd

USERS_AT_ONCE = 256
SCORES_AT_ONCE = 32_000_000  # of users and all articles: 128 MB
TEXTS_AT_ONCE = 1_000  # between two steps of a progress bar
KEPT_VECTORS = 100_000  # of the most recently used texts; 150 MB at news_dim 384

NOT_A_NUMBER = "The model scores {!r} with NaN. Its weights are damaged: train it again."

Key = int | str  # of a vector: the row of an article that was added, or a text


class Ranked(NamedTuple):
    """A candidate, its score, and its place (from 0) among those given.

    ``candidate`` is what the caller gave: an id, a title, or the id of an (id, title) pair.
    """

    candidate: str
    score: float
    place: int


class Ranker:
    """Ranks candidates for users by what they clicked; ``recbole_tinynews.load`` makes one.

    Scores equal those of evaluation in fp32. A text is encoded when it first appears; the vectors
    of the ``KEPT_VECTORS`` most recently used texts are kept in memory, and those of articles
    added by ``add_news`` until they are forgotten. Threads may share it: only new texts are encoded
    one call at a time.

    An article is given as a title, as an id (of an article that was added, or of the data set), by
    its fields as ``{"title": ..., "abstract": ..., "category": ..., "subcategory": ...}``, perhaps
    with its ``"id"``, or as the tuple ``(id, title or fields)``. Several articles are a list. Of
    the fields, those that the recommender does not read are ignored, those that are missing are
    empty, and a category that its data set does not have is none.

    Attributes:
        settings: what the recommender was trained with, as in ``settings.yaml``.
        reading: what it reads of an article.
    """

    def __init__(self, engine: Engine, data_path: Path | None = None) -> None:
        self.settings: Mapping[str, Any] = engine.settings
        self.engine = engine
        self._known = KnownVectors(engine.encode, KEPT_VECTORS)
        self.reading = engine.reading
        self._index = NewsIndex()
        self._nearest: Nearest | None = None
        self._data_set = DataSetTexts(engine.settings["dataset"], engine.reading, data_path)

    # --------------------------------------------------------------------------------- ranking

    @overload
    def rank(  # type: ignore[overload-overlap]  # a str is a sequence of str
        self, history: Sequence[Given], candidates: Sequence[Given], *, ids: bool | None = None
    ) -> list[Ranked]: ...

    @overload
    def rank(
        self,
        history: Sequence[Sequence[Given]],
        candidates: Sequence[Sequence[Given]],
        *,
        ids: bool | None = None,
    ) -> list[list[Ranked]]: ...

    def rank(self, history: Any, candidates: Any, *, ids: bool | None = None) -> Any:
        """Candidates from best to worst; equal scores stay in the order given.

        Args:
            history: what the user clicked, oldest first; only the newest ``history_length`` count.
                Empty for a new user. For many users, a list of such lists.
            candidates: what to rank; for many users, a list for each of them.
            ids: whether all texts are news ids (True) or titles (False). By default they are ids
                if each of them is one; say so in a program, which may meet a title that looks like
                an id.

        Returns:
            ``Ranked`` for each candidate; for many users, such a list for each.

        Raises:
            ValueError: no candidates, an id that is unknown, not as many histories as lists of
                candidates.
            TypeError: an argument is not a list of articles.
            FileNotFoundError: ids, and their data set is not found.
        """
        users, one = users_of(history, candidates)
        shelf = self._index.shelf
        keys = self._keys([part for user in users for part in user], ids, shelf)
        ranked: list[list[Ranked]] = []
        for start in range(0, len(users), USERS_AT_ONCE):
            some = users[start : start + USERS_AT_ONCE]
            parts = keys[2 * start : 2 * (start + len(some))]
            scores = self._scores(parts[0::2], parts[1::2], shelf)
            names = ([name_of(each) for each in user.candidates] for user in some)
            ranked += [_best_first(*each) for each in zip(names, scores, strict=True)]
        return ranked[0] if one else ranked

    def top(
        self,
        history: Any,
        k: int = 10,
        *,
        ids: bool | None = None,
        leave_out_clicked: bool = True,
    ) -> Any:
        """The best of all articles that were added, best first.

        Args:
            history: as for ``rank``.
            k: how many; fewer where there are not as many articles.
            ids: as for ``rank``.
            leave_out_clicked: whether articles of the history are left out, by id or equal text.

        Returns:
            ``k`` times ``Ranked``, whose place is that of the article among those added; for many
            users, such a list for each.

        Raises:
            ValueError: no articles were added, ``k`` is below 1, or as for ``rank``.
        """
        histories, one = histories_of(history)
        found = [
            [Ranked(*each) for each in zip(best.ids, best.scores.tolist(), best.rows, strict=True)]
            for best in self.top_rows(histories, k, ids=ids, leave_out_clicked=leave_out_clicked)
        ]
        return found[0] if one else found

    def top_rows(
        self,
        histories: Sequence[Sequence[Given]],
        k: int,
        *,
        ids: bool | None = None,
        leave_out_clicked: bool = True,
        exact: bool = False,
    ) -> Iterator[TopOfUser]:
        """``top`` for many users as arrays, user after user; ``exact``: without a graph."""
        nearest = None if exact else self._nearest
        shelf = self._index.shelf
        if not shelf.ids:
            raise ValueError("top expects articles to choose from, got none. Add them: add_news.")
        if k < 1:
            raise ValueError(f"top expects k of at least 1, got {k}.")
        step = max(1, min(USERS_AT_ONCE, SCORES_AT_ONCE // len(shelf.ids)))
        for start in range(0, len(histories), step):
            some = histories[start : start + step]
            keys = self._keys(some, ids, shelf)
            left_out = [
                _rows_of(*each, shelf) if leave_out_clicked else []
                for each in zip(some, keys, strict=True)
            ]
            for rows, scores in self._best(keys, left_out, k, shelf, nearest):
                places = rows.tolist()
                yield TopOfUser([shelf.ids[row] for row in places], scores, places)

    def click_weights(self, history: Any, *, ids: bool | None = None) -> list[float] | None:
        """How much each click of one user counts, by the attention of the user encoder.

        They sum to 1; clicks before the newest ``history_length`` have 0. ``None``: the recommender
        has no such weights.
        """
        histories, one = histories_of(history)
        if not one:
            raise TypeError("click_weights expects the clicks of one user, got those of several.")
        (clicks,) = histories
        if not clicks:
            return []
        shelf = self._index.shelf
        vectors, rows, _, _ = self._batch(self._keys([clicks], ids, shelf), [], shelf)
        weights = self.engine.click_weights(vectors, rows)
        if weights is None:
            return None
        counted = min(len(clicks), rows.shape[1])
        newest = weights[0, rows.shape[1] - counted :].tolist()
        return [0.0] * (len(clicks) - counted) + newest

    def rank_table(
        self,
        users: pd.DataFrame,
        candidates: pd.DataFrame | str | None = None,
        top: int | None = None,
    ) -> pd.DataFrame:
        """Rank for a table of users; ``serving.table.rank_table`` says what the tables hold."""
        from recbole_tinynews.serving.table import rank_table  # pandas takes time to import

        return rank_table(self, users, candidates, top)

    # -------------------------------------------------------------------------------- articles

    def encode(self, titles: Sequence[Content]) -> NDArray[np.float32]:
        """Vectors of titles or fields, ``[titles, news_dim]``, kept as those of ``rank`` are."""
        texts = [*map(self.reading.text, titles)]
        if not texts:
            return np.empty((0, self._known([self.reading.text("")]).shape[1]), np.float32)
        distinct = list(dict.fromkeys(texts))
        number = {text: place for place, text in enumerate(distinct)}
        return self._known(distinct)[[number[text] for text in texts]].cpu().numpy()

    def warm_up(self, titles: Iterable[Content], show_progress: bool = True) -> None:
        """Encode titles, or articles by their fields, now, so that no request waits for them.

        ``KEPT_VECTORS`` are kept at most, the last ones. What is ranked by its id is better added
        by ``add_news``.
        """
        distinct = list(dict.fromkeys(map(self.reading.text, titles)))
        for texts in _chunks(distinct[-self._known.capacity :], "Encode news", show_progress):
            self._known(texts)

    def add_news(self, news: Any, show_progress: bool = True) -> None:
        """Encode articles and keep them by their ids, for ``top``, and for ``rank`` by id.

        An id that is there already gets the new text.

        Args:
            news: a DataFrame with ``id`` (or ``item_id``, ``news_id``), ``title`` and, where the
                recommender reads them, ``abstract``, ``body``, ``category`` and ``subcategory``; or
                ids to titles or fields; or such pairs.
            show_progress: whether a bar is shown, if it takes a while.

        Raises:
            ValueError: a column is missing, an id is empty or occurs twice, a field is unknown.
            TypeError: it is something else.
        """
        ids, contents = articles_of(news, self.reading.fields)
        texts = [*map(self.reading.text, contents)]
        vectors = [
            self.engine.encode(some) for some in _chunks(texts, "Encode news", show_progress)
        ]
        if vectors:
            self._index.add(ids, texts, torch.cat(vectors))

    def forget(self, ids: Sequence[str]) -> None:
        """Remove articles that were added.

        Raises:
            ValueError: an id was not added.
        """
        unknown = [each for each in ids if each not in self._index.shelf.rows]
        if unknown:
            raise ValueError(
                f"forget expects ids of articles that were added, got {unknown[0]!r}"
                f"{f' and {len(unknown) - 1} more unknown ones' if len(unknown) > 1 else ''}."
            )
        self._index.forget(ids)

    @property
    def news_ids(self) -> tuple[str, ...]:
        """Ids of the articles that were added, in order."""
        return self._index.shelf.ids

    def __contains__(self, news_id: str) -> bool:
        """Whether an article with this id was added."""
        return news_id in self._index.shelf.rows

    def save_index(self, path: str | Path) -> None:
        """Write the articles that were added, and their vectors, into one file."""
        save_shelf(self._index.shelf, self.engine.identity, Path(path))

    def load_index(self, path: str | Path) -> None:
        """Add the articles of a file of ``save_index``, without encoding them again.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no index, is damaged, or was saved with another recommender.
        """
        ids, texts, vectors = read_shelf(Path(path), self.engine.identity)
        self._index.add(ids, texts, vectors.to(self.engine.device))

    def approximate(self, library: str | None) -> None:
        """Let ``top`` search a graph instead of all articles: ``faiss``, ``usearch``; None: exact.

        Worth it from hundreds of thousands of articles on. The graph is made anew at the next
        ``top`` after articles were added or forgotten.

        Raises:
            ValueError: another library, or a recommender whose score is no dot product.
            ModuleNotFoundError: the library is not installed.
        """
        if library is not None and not self.engine.two_towers:
            raise ValueError(
                "approximate expects a score that is a dot product, and this recommender scores in "
                "a way of its own. Leave it exact."
            )
        self._nearest = None if library is None else Nearest(library)

    def recall(self, histories: Sequence[Sequence[Given]], k: int = 50) -> float:
        """The share of the exact best ``k`` articles that the approximate search finds.

        Raises:
            ValueError: ``top`` is exact.
        """
        if self._nearest is None:
            raise ValueError("recall expects an approximate search. Choose one: approximate.")
        pairs = [
            (set(best.rows), set(near.rows))
            for best, near in zip(
                self.top_rows(histories, k, exact=True), self.top_rows(histories, k), strict=True
            )
        ]
        return sum(len(a & b) for a, b in pairs) / sum(len(a) for a, _ in pairs)

    def titles(self, ids: Sequence[str]) -> list[Any]:
        """What the recommender reads of news ids, to rank them together with titles.

        A text of each, or its fields by their names for a recommender with several views.

        Raises:
            FileNotFoundError: the data set is not found.
            ValueError: neither the articles added nor the data set have such an id.
        """
        shelf = self._index.shelf
        elsewhere = [each for each in ids if each not in shelf.rows]
        text = dict(zip(elsewhere, self._data_set.texts(elsewhere), strict=True))
        texts = (shelf.texts[shelf.rows[i]] if i in shelf.rows else text[i] for i in ids)
        return [*map(self.reading.content, texts)]

    # --------------------------------------------------------------------------- ids or titles

    def _keys(
        self, given: Sequence[Sequence[Given]], ids: bool | None, shelf: Shelf
    ) -> list[list[Key]]:
        """What each article's vector is found by."""
        texts = [each for part in given for each in part if isinstance(each, str)]
        if ids is None:
            ids = self._are_ids(texts, shelf)
        read = self.reading.text
        if not ids:
            return [[read(e if isinstance(e, str) else e[1]) for e in part] for part in given]
        elsewhere = [text for text in dict.fromkeys(texts) if text not in shelf.rows]
        keys: dict[str, Key] = dict(zip(elsewhere, self._texts_of(elsewhere, shelf), strict=True))
        keys.update((text, shelf.rows[text]) for text in texts if text in shelf.rows)
        return [[keys[e] if isinstance(e, str) else read(e[1]) for e in part] for part in given]

    def _texts_of(self, ids: list[str], shelf: Shelf) -> list[str]:
        """Texts of ids that were not added: those of the data set."""
        try:
            return self._data_set.texts(ids)
        except FileNotFoundError as problem:
            if not shelf.ids:
                raise
            raise ValueError(
                f"Ids of the {len(shelf.ids):,} articles that were added are expected, got "
                f"{ids[0]!r}{f' and {len(ids) - 1} more' if len(ids) > 1 else ''}. {problem}"
            ) from None

    def _are_ids(self, texts: list[str], shelf: Shelf) -> bool:
        """Whether all texts are ids; raises where they may be, but the data set is not found."""
        if any(len(text.split()) != 1 for text in texts):  # a title in words, or an empty one
            return False
        elsewhere = [text for text in texts if text not in shelf.rows]
        if not elsewhere:
            return True
        try:
            unknown = [text for text in elsewhere if text not in self._data_set]
        except FileNotFoundError:
            if all(any(letter.isdigit() for letter in text) for text in elsewhere):
                raise  # scores of "N123" as a title would look like any others
            unknown = elsewhere
        if unknown and len(unknown) < len(texts):
            known = next(text for text in texts if text not in set(unknown))
            raise ValueError(
                f"rank expects all ids or all titles, got the id {known!r} and {unknown[0]!r}, "
                f"which is none of data set '{self._data_set.name}'. Say which with ids=True or "
                "ids=False, or turn ids into titles with titles(ids)."
            )
        return not unknown

    # ------------------------------------------------------------------------ vectors, scores

    def _batch(
        self, histories: list[list[Key]], candidates: list[list[Key]], shelf: Shelf
    ) -> tuple[Tensor, Tensor, Tensor, Ragged]:
        """What ``Engine.scores`` takes, the sizes as the rows of the candidates."""
        distinct = dict.fromkeys(
            key for rows in (histories, candidates) for row in rows for key in row
        )
        texts = [key for key in distinct if isinstance(key, str)]
        rows = [key for key in distinct if isinstance(key, int)]
        parts = []
        if texts:
            parts.append(self._known(texts))
        if rows or not texts:  # nobody has clicked anything: top
            parts.append(shelf.vectors[rows])
        number = {key: place for place, key in enumerate((*texts, *rows), start=1)}
        clicked = Ragged.from_rows([[number[key] for key in row] for row in histories], np.int64)
        shown = Ragged.from_rows([[number[key] for key in row] for row in candidates], np.int64)
        newest = clicked.newest(np.arange(clicked.rows), self.settings["history_length"])
        vectors = torch.cat([parts[0].new_zeros(1, parts[0].shape[1]), *parts])
        device = vectors.device
        return vectors, id_tensor(newest).to(device), id_tensor(shown.values).to(device), shown

    def _scores(
        self, histories: list[list[Key]], candidates: list[list[Key]], shelf: Shelf
    ) -> list[NDArray[np.float32]]:
        """Scores of each user's candidates."""
        vectors, clicked, shown, rows = self._batch(histories, candidates, shelf)
        sizes = id_tensor(rows.lengths).to(vectors.device)
        scores = self.engine.scores(vectors, clicked, shown, sizes)
        return np.split(scores.cpu().numpy(), rows.offsets[1:-1])

    def _best(
        self,
        histories: list[list[Key]],
        left_out: list[list[int]],
        k: int,
        shelf: Shelf,
        nearest: Nearest | None,
    ) -> list[Best]:
        """Rows and scores of each user's best ``k`` articles."""
        if self.engine.two_towers:
            vectors, clicked, _, _ = self._batch(histories, [], shelf)
            users = self.engine.user_vectors(vectors, clicked)
            if nearest is not None and not users.isnan().any():
                return nearest.best(shelf, users.cpu().numpy(), k, left_out)
            scores = (users @ shelf.vectors.T).cpu().numpy()
        else:
            every: list[Key] = list(range(len(shelf.ids)))
            scores = np.stack(self._scores(histories, [every] * len(histories), shelf))
        if np.isnan(scores.min()):  # the least of numbers and NaN is NaN
            raise ValueError(NOT_A_NUMBER.format(shelf.ids[int(np.isnan(scores).any(0).argmax())]))
        return best_rows(scores, k, left_out)


def _rows_of(given: Sequence[Given], keys: list[Key], shelf: Shelf) -> list[int]:
    """Rows of the articles in a history: those of its ids, and of its texts."""
    by_text = {key for key in keys if isinstance(key, str)}
    rows = {key for key in keys if isinstance(key, int)}
    pairs = (each for each in given if not isinstance(each, str))
    rows |= {shelf.rows[name] for name, _ in pairs if name in shelf.rows}
    if by_text:
        rows |= {row for row, text in enumerate(shelf.texts) if text in by_text}
    return sorted(rows)


def _chunks(texts: list[str], what: str, show_progress: bool) -> Iterator[list[str]]:
    short = len(texts) <= TEXTS_AT_ONCE
    shown = show_progress and not short
    with progress_bar(desc=what, shown=shown, total=len(texts), unit=" news") as bar:
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            yield texts[start : start + TEXTS_AT_ONCE]
            bar.update(min(TEXTS_AT_ONCE, len(texts) - start))


def _best_first(names: list[str], scores: NDArray[np.float32]) -> list[Ranked]:
    if np.isnan(scores).any():
        raise ValueError(NOT_A_NUMBER.format(names[int(np.isnan(scores).argmax())]))
    order = np.argsort(-scores, kind="stable").tolist()
    values = scores.tolist()
    return [Ranked(names[place], values[place], place) for place in order]
