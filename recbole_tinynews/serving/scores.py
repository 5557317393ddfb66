"""Scores of candidates and the best articles of a shelf, exact or by approximate search."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_tinynews.data.dataloader import id_tensor
from recbole_tinynews.data.ragged import Ragged
from recbole_tinynews.serving.engine import Batch, Engine
from recbole_tinynews.serving.lookup import Key, KnownVectors
from recbole_tinynews.serving.nearest import Nearest
from recbole_tinynews.serving.news_index import NOT_A_NUMBER, Best, Shelf, best_rows


class Scorer(NamedTuple):
    """Scores with an engine; ``known`` provides vectors of articles outside the shelf."""

    engine: Engine
    known: KnownVectors
    shelf: Shelf

    def scores(
        self,
        histories: list[list[Key]],
        candidates: list[list[Key]],
        counters: NDArray[np.float32] | None = None,
    ) -> list[NDArray[np.float32]]:
        """Scores of each user's candidates; ``counters`` as for ``Engine.scores``."""
        batch = self._batch(histories, candidates)
        known = None if counters is None else torch.from_numpy(counters).to(batch.vectors.device)
        scores = self.engine.scores(batch, known).cpu().numpy()
        return np.split(scores, np.cumsum([*map(len, candidates)])[:-1])

    def vectors(self, articles: list[Key]) -> NDArray[np.float32]:
        """Vectors of articles, ``[articles, dim]``."""
        batch = self._batch([], [articles])
        return batch.vectors[batch.candidates].float().cpu().numpy()

    def contributions(
        self, history: list[Key], candidates: list[Key], counters: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:
        """Text, popularity and freshness in one user's scores, ``[candidates, 3]``, if known."""
        if not self.engine.two_towers:
            return None
        vectors, clicked, shown, _ = self._batch([history], [candidates])
        users = self.engine.user_vectors(vectors, clicked).expand(len(shown), -1)
        text = (vectors[shown] * users).sum(-1)
        known = torch.from_numpy(counters).to(vectors.device)
        parts = self.engine.contributions(text, known)
        return None if parts is None else parts.cpu().numpy()

    def best(
        self,
        histories: list[list[Key]],
        left_out: list[list[int]],
        k: int,
        nearest: Nearest | None,
        counters: NDArray[np.float32] | None = None,
    ) -> list[Best]:
        """Rows and scores of each user's ``k`` best articles on the shelf."""
        shelf = self.shelf
        if self.engine.two_towers:
            vectors, clicked, *_ = self._batch(histories, [])
            users = self.engine.user_vectors(vectors, clicked)
            if nearest is not None and counters is None and not users.isnan().any():
                return nearest.best(shelf, users.cpu().numpy(), k, left_out)
            text, known = users @ shelf.vectors.T, None
            if counters is not None:
                known = torch.from_numpy(counters).to(text.device).view(*text.shape, -1)
            news = shelf.vectors.expand(len(users), -1, -1)
            scores = self.engine.total_scores(text, users, news, known).cpu().numpy()
        else:
            every: list[Key] = list(range(len(shelf.ids)))
            scores = np.stack(self.scores(histories, [every] * len(histories), counters))
        if np.isnan(scores.min()):  # min returns NaN if there is one
            raise ValueError(NOT_A_NUMBER.format(shelf.ids[int(np.isnan(scores).any(0).argmax())]))
        return best_rows(scores, k, left_out)

    def click_weights(self, clicks: list[Key]) -> list[float] | None:
        """Attention weight of each click; 0 for clicks before the newest ``history_length``."""
        vectors, rows, *_ = self._batch([clicks], [])
        weights = self.engine.click_weights(vectors, rows)
        if weights is None:
            return None
        counted = min(len(clicks), rows.shape[1])
        newest = weights[0, rows.shape[1] - counted :].tolist()
        return [0.0] * (len(clicks) - counted) + newest

    def _batch(self, histories: list[list[Key]], candidates: list[list[Key]]) -> Batch:
        distinct = dict.fromkeys(
            key for rows in (histories, candidates) for row in rows for key in row
        )
        others = [key for key in distinct if isinstance(key, tuple)]
        rows = [key for key in distinct if isinstance(key, int)]
        parts = []
        if others:
            parts.append(self.known(others))
        if rows or not others:  # neither: `top` for users without clicks
            parts.append(self.shelf.vectors[rows])
        number = {key: place for place, key in enumerate((*others, *rows), start=1)}
        clicked = Ragged.from_rows([[number[key] for key in row] for row in histories], np.int64)
        shown = Ragged.from_rows([[number[key] for key in row] for row in candidates], np.int64)
        newest = clicked.newest(np.arange(clicked.rows), self.engine.settings["history_length"])
        vectors = torch.cat([parts[0].new_zeros(1, parts[0].shape[1]), *parts])
        rows_of_users = (newest, shown.values, shown.lengths)
        return Batch(vectors, *(id_tensor(each).to(vectors.device) for each in rows_of_users))
