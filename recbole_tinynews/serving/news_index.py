"""Articles and their vectors by id, in memory and on disk."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from recbole_tinynews.files.tensors import write_tensors
from recbole_tinynews.serving.reading import Read

FORMAT, ANY_FORMAT = "news index 2", "news index "

NOT_A_NUMBER = "The model scores {!r} with NaN. Its weights are damaged: retrain it."

Best = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows of a user's best articles and their scores, best first."""


class OtherRecommenderError(ValueError):
    """A saved index is of another recommender or an earlier version."""


class Lock:
    """A lock that unpickles as a new lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Lock], tuple[()]]:
        return Lock, ()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Shelf(NamedTuple):
    """An immutable snapshot of articles, which threads read without a lock."""

    ids: tuple[str, ...]
    read: tuple[Read, ...]
    rows: Mapping[str, int]  # by id
    vectors: Tensor  # [articles, dim]


class TopOfUser(NamedTuple):
    """A user's best articles: ids, scores ``[k]``, and rows in the shelf."""

    ids: list[str]
    scores: NDArray[np.float32]
    rows: list[int]


class NewsIndex:
    """Articles by id, which may change while other threads read them."""

    def __init__(self) -> None:
        self.shelf = Shelf((), (), {}, torch.zeros(0, 0))
        self._room = torch.zeros(0, 0)  # [capacity, dim]; starts with the shelf's vectors
        self._changing = Lock()

    def add(self, ids: Sequence[str], read: Sequence[Read], vectors: Tensor) -> None:
        """Add articles, vectors ``[articles, dim]``; known ids are replaced and move to the end."""
        with self._changing:
            old = self._without(set(ids))  # unpublished: readers miss no article
            start, stop = len(old.ids), len(old.ids) + len(ids)
            if not start:
                self._room = vectors  # not copied: vectors of a file stay mapped
            elif stop > len(self._room):
                grown = vectors.new_zeros(max(stop, 2 * len(self._room)), vectors.shape[1])
                grown[:start] = old.vectors
                self._room = grown
            if start:
                self._room[start:stop] = vectors  # rows that no shelf includes
            rows = {**old.rows, **{name: start + place for place, name in enumerate(ids)}}
            self.shelf = Shelf((*old.ids, *ids), (*old.read, *read), rows, self._room[:stop])

    def forget(self, ids: Sequence[str]) -> None:
        """Remove articles; the others keep their order."""
        with self._changing:
            self.shelf = self._without(set(ids))

    def _without(self, ids: set[str]) -> Shelf:
        old = self.shelf
        if not ids & old.rows.keys():
            return old
        kept = [row for row, name in enumerate(old.ids) if name not in ids]
        names = tuple(old.ids[row] for row in kept)
        self._room = old.vectors[kept]  # a copy: the old shelf may still be read
        read = tuple(old.read[row] for row in kept)
        rows = {name: row for row, name in enumerate(names)}
        return Shelf(names, read, rows, self._room)


def best_rows(scores: NDArray[np.float32], k: int, left_out: Sequence[Sequence[int]]) -> list[Best]:
    """Each user's best articles, the first of equal ones; overwrites ``scores``."""
    found = []
    for user, rows in zip(scores, left_out, strict=True):
        user[list(rows)] = -np.inf
        few = min(k, len(user) - len(set(rows)))
        if few <= 0:
            found.append((np.empty(0, np.int64), np.empty(0, np.float32)))
            continue
        # all scores from the k-th up, since a partition breaks ties arbitrarily
        least = np.partition(user, len(user) - few)[len(user) - few]
        reach = np.flatnonzero(user >= least)
        best = reach[np.argsort(-user[reach], kind="stable")[:few]]
        found.append((best, user[best]))
    return found


def save_shelf(shelf: Shelf, identity: str, path: Path) -> None:
    """Write articles and vectors to one safetensors file, atomically."""
    articles = json.dumps({"ids": shelf.ids, "read": shelf.read}).encode()
    tensors = {
        "vectors": shelf.vectors.detach().cpu().contiguous().clone(),
        "articles": torch.frombuffer(bytearray(articles), dtype=torch.uint8),
    }
    write_tensors(tensors, path, {"format": FORMAT, "recommender": identity})


def read_shelf(path: Path, identity: str) -> tuple[list[str], list[Read], Tensor]:
    """The ids, articles and vectors in a saved index; ``Ranker.load_index`` lists the errors."""
    if not path.is_file():
        raise FileNotFoundError(
            f"An index of news is expected in {path.absolute()}, and there is no such file. Write "
            "it with add_news and save_index."
        )
    try:
        with safe_open(path, framework="pt") as file:
            _check_origin(file.metadata() or {}, path, identity)
            articles = json.loads(bytes(file.get_tensor("articles").numpy()))
            ids, read = articles["ids"], [tuple(each) for each in articles["read"]]
            vectors = file.get_tensor("vectors")
        if not len(set(ids)) == len(ids) == len(read) == len(vectors):
            raise TypeError("ids, texts and vectors differ in number")
    except (
        *(SafetensorError, UnicodeDecodeError, json.JSONDecodeError),
        *(KeyError, TypeError, RecursionError),
    ) as problem:
        raise ValueError(f"{path} is damaged: {problem}. Write it again: save_index.") from problem
    return ids, read, vectors


def _check_origin(about: Mapping[str, str], path: Path, identity: str) -> None:
    if not about.get("format", "").startswith(ANY_FORMAT):
        raise ValueError(f"{path} expects an index of news, as save_index writes it.")
    if (about["format"], about.get("recommender")) != (FORMAT, identity):
        raise OtherRecommenderError(
            f"{path} expects the recommender that it was saved with, and was saved with another "
            "one, or by an earlier version: its vectors mean something else. Add the news again "
            "with add_news, and save_index."
        )
