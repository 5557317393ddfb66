"""Approximate search of the best articles, by libraries that index vectors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_tinynews.files.installation import library
from recbole_tinynews.serving.article_index import NOT_A_NUMBER, BestRows, IndexSnapshot, best_rows

Search = Callable[[NDArray[np.float32], int], NDArray[np.int64]]
"""``(user vectors [users, dim], k) -> rows [users, k]``, best first; -1 if it found fewer."""

STALE = 0.1  # share of articles that differ from the index before it is built again
NEIGHBOURS = 32  # per article in usearch's graph (HNSW, Malkov & Yashunin 2018)
EXPLORED = 400  # length of its candidate list (ef)
IN_A_LIST = 39  # articles at least in one of faiss's lists on average, as its k-means expects
RECALL, FOUND = 0.98, 100  # share of the best articles that faiss is to find
READERS, CLICKS = 100, 10  # on whom this is measured: means of articles drawn at random


class _Built(NamedTuple):
    """A search built once, and how the present articles differ from those that it was built of."""

    built: IndexSnapshot  # without vectors
    search: Search  # rows of `built`
    snapshot: IndexSnapshot  # the present articles
    rows: NDArray[np.int64]  # [articles of `built`], rows of `snapshot`; -1 if gone or changed
    others: NDArray[np.int64]  # rows of `snapshot` that are new or changed
    vectors: NDArray[np.float32]  # [others, dim]

    def moved(self, snapshot: IndexSnapshot) -> _Built | None:
        """The search for other articles, without building it; ``None``: too many differ."""
        built, others = self.built, []
        rows = np.full(len(built.ids), -1)
        for row, (name, article) in enumerate(zip(snapshot.ids, snapshot.articles, strict=True)):
            old = built.rows.get(name)
            if old is None or built.articles[old].fields != article.fields:
                others.append(row)
            else:
                rows[old] = row
        if max((rows < 0).sum(), len(others)) > STALE * len(rows):
            return None
        changed = np.array(others, np.int64)
        return self._replace(
            snapshot=snapshot, rows=rows, others=changed, vectors=_vectors(snapshot, changed)
        )


class Nearest:
    """Approximate search of the best articles: ``faiss`` (IVF) or ``usearch`` (HNSW).

    The search is built when it is first needed, and again once a tenth of the articles differ from
    it, while others wait. Until then, new and changed articles are compared one by one.
    """

    def __init__(self, name: str) -> None:
        if name not in _BUILDERS:
            raise ValueError(f"approximate expects {' or '.join(_BUILDERS)}, got {name!r}.")
        self.library = name
        self._import()
        self._made: _Built | None = None
        self._making = threading.Lock()

    def __reduce__(self) -> tuple[type[Nearest], tuple[str]]:
        return Nearest, (self.library,)

    def best(
        self,
        snapshot: IndexSnapshot,
        users: NDArray[np.float32],
        k: int,
        left_out: Sequence[Sequence[int]],
    ) -> list[BestRows]:
        """Approximate ``best_rows`` for user vectors ``[users, dim]``."""
        made = self._of(snapshot)
        wanted, gone = k + max(map(len, left_out), default=0), int((made.rows < 0).sum())
        fewest = min(wanted, len(made.rows) - gone)
        asked = 2 * wanted if gone else wanted  # some may be gone
        near = made.search(users, min(asked, len(made.rows)))
        new = best_rows(users @ made.vectors.T, wanted, [()] * len(users))
        best = []
        for user, places, (further, _), out in zip(users, near, new, left_out, strict=True):
            rows = made.rows[places[places >= 0]]
            rows = rows[rows >= 0]
            if len(rows) < fewest:  # what is gone was near this user
                best += best_rows((snapshot.vectors.cpu().numpy() @ user)[None], k, [out])
                continue
            rows = np.concatenate([rows, made.others[further]])
            rows = rows[~np.isin(rows, out)]
            scores = snapshot.vectors[rows].cpu().numpy() @ user
            order = np.lexsort((rows, -scores))[:k]
            best.append((rows[order], scores[order]))
        return best

    def _import(self) -> ModuleType:
        package = "faiss-cpu" if self.library == "faiss" else self.library
        install = f"{package}. The exact search needs nothing."
        return library(_BUILDERS[self.library][0], f"approximate={self.library!r}", install)

    def _of(self, snapshot: IndexSnapshot) -> _Built:
        with self._making:
            made = self._made
            if made is not None and made.snapshot is not snapshot:
                made = made.moved(snapshot)
            if made is None:
                every = np.arange(len(snapshot.ids))
                vectors = _vectors(snapshot, every)
                search = _BUILDERS[self.library][1](self._import(), vectors)
                built = snapshot._replace(vectors=torch.empty(0))  # the library has a copy
                made = _Built(built, search, snapshot, every, every[:0], vectors[:0].copy())
            self._made = made
            return made


def _vectors(snapshot: IndexSnapshot, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Vectors of these rows; ``ValueError`` if one is not a number."""
    vectors = snapshot.vectors[rows].cpu().numpy()
    wrong = ~np.isfinite(vectors.sum(axis=1))
    if wrong.any():
        raise ValueError(NOT_A_NUMBER.format(snapshot.ids[rows[wrong.argmax()]]))
    return vectors


def _faiss(faiss: ModuleType, vectors: NDArray[np.float32]) -> Search:
    """Inverted lists (IVF): built in minutes for a million articles, where a graph takes hours."""
    count, dim = vectors.shape
    lists = max(1, min(int(4 * count**0.5), count // IN_A_LIST))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = 64  # a quarter of the default: as good, built twice as fast
    index.train(vectors)
    index.add(vectors)
    draw = np.random.default_rng(0)
    readers = vectors[draw.integers(count, size=(READERS, CLICKS))].mean(axis=1)
    k = min(FOUND, count)
    exact = [np.argpartition(-(vectors @ reader), k - 1)[:k] for reader in readers]
    while index.nprobe < lists:  # the fewest lists that hold enough of the best articles
        found = index.search(readers, k)[1]
        if np.mean([np.isin(*both).mean() for both in zip(exact, found, strict=True)]) >= RECALL:
            break
        index.nprobe = min(2 * index.nprobe, lists)

    def search(users: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        probes = max(index.nprobe, min(lists, 4 * k * lists // count))  # or they may hold too few
        chosen = faiss.SearchParametersIVF(nprobe=probes)
        return index.search(np.ascontiguousarray(users), k, params=chosen)[1]

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
