"""Approximate nearest-neighbour search with an optional library."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.serving.news_index import Best, Shelf

Search = Callable[[NDArray[np.float32], int], NDArray[np.int64]]
"""``(user vectors [users, dim], k) -> rows [users, k]``, best first; -1 where it found fewer."""

NEIGHBOURS = 32  # per article in the graph (HNSW, Malkov & Yashunin 2018)
EXPLORED = 400  # length of a search's candidate list (ef)


class Nearest:
    """HNSW graph of the articles, rebuilt after they change; by ``faiss`` or ``usearch``."""

    def __init__(self, library: str) -> None:
        if library not in _BUILDERS:
            raise ValueError(f"approximate expects {' or '.join(_BUILDERS)}, got {library!r}.")
        _installed(library)
        self.library = library
        self._made: tuple[Shelf, Search] | None = None
        self._making = threading.Lock()

    def __reduce__(self) -> tuple[type[Nearest], tuple[str]]:
        return Nearest, (self.library,)

    def best(
        self,
        shelf: Shelf,
        users: NDArray[np.float32],
        k: int,
        left_out: Sequence[Sequence[int]],
    ) -> list[Best]:
        """Approximate ``best_rows`` for user vectors ``[users, dim]``."""
        search = self._search(shelf)
        asked = min(k + max(map(len, left_out), default=0), len(shelf.ids))
        found = []
        for user, near, out in zip(users, search(users, asked), left_out, strict=True):
            rows = near[(near >= 0) & ~np.isin(near, out)][:k]
            scores = shelf.vectors[rows].cpu().numpy() @ user
            order = np.argsort(-scores, kind="stable")
            found.append((rows[order], scores[order]))
        return found

    def _search(self, shelf: Shelf) -> Search:
        with self._making:
            if self._made is None or self._made[0] is not shelf:
                vectors = np.ascontiguousarray(shelf.vectors.cpu().numpy())
                build = _BUILDERS[self.library][1]
                self._made = shelf, build(_installed(self.library), vectors)
            return self._made[1]


def _faiss(faiss: ModuleType, vectors: NDArray[np.float32]) -> Search:
    graph = faiss.IndexHNSWFlat(vectors.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = EXPLORED
    graph.add(vectors)

    def search(users: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        graph.hnsw.efSearch = max(EXPLORED, 2 * k)
        return graph.search(np.ascontiguousarray(users), k)[1]

    return search


def _usearch(usearch: ModuleType, vectors: NDArray[np.float32]) -> Search:
    graph = usearch.Index(
        ndim=vectors.shape[1],
        metric="ip",
        dtype="f32",
        connectivity=NEIGHBOURS,
        expansion_add=EXPLORED,
        expansion_search=EXPLORED,
    )
    graph.add(np.arange(len(vectors)), vectors)

    def search(users: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        rows = np.full((len(users), k), -1, np.int64)
        for user, found in enumerate(users):
            keys = graph.search(found, k).keys
            rows[user, : len(keys)] = keys
        return rows

    return search


_BUILDERS = {"faiss": ("faiss", _faiss), "usearch": ("usearch.index", _usearch)}


def _installed(library: str) -> ModuleType:
    try:
        return import_module(_BUILDERS[library][0])
    except ModuleNotFoundError as missing:
        name = "faiss-cpu" if library == "faiss" else library
        raise ModuleNotFoundError(
            f"approximate={library!r} expects {library}, which is not installed: pip install "
            f"{name}. The exact search needs nothing."
        ) from missing
