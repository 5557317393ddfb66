"""The articles that a service knows, by id, and the best of them for a user."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from recbole_tinynews.files.tensors import write_tensors

FORMAT = "news index 1"

Best = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows of a user's best articles and their scores, best first."""


class OtherRecommenderError(ValueError):
    """A saved index holds the vectors of another recommender."""


class Shelf(NamedTuple):
    """Articles at one moment; it never changes, so that threads read it without a lock.

    Shapes:
        vectors: ``[articles, dim]``.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    rows: Mapping[str, int]  # by id
    vectors: Tensor


class TopOfUser(NamedTuple):
    """The best articles for a user: ids, scores ``[k]``, and their places among those added."""

    ids: list[str]
    scores: NDArray[np.float32]
    rows: list[int]


class NewsIndex:
    """Articles by id, added and forgotten while others read. Threads may share it."""

    def __init__(self) -> None:
        self.shelf = Shelf((), (), {}, torch.zeros(0, 0))
        self._room = torch.zeros(0, 0)  # [capacity, dim], whose first rows are the shelf's vectors
        self._changing = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the lock, which belongs to this process."""
        return {name: value for name, value in vars(self).items() if name != "_changing"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore it with a lock of its own."""
        vars(self).update(state, _changing=threading.Lock())

    def add(self, ids: Sequence[str], texts: Sequence[str], vectors: Tensor) -> None:
        """Add articles; one whose id is there already replaces it, and moves to the end.

        Shapes:
            vectors: ``[articles, dim]``.
        """
        with self._changing:
            old = self._without(set(ids))  # nobody sees it: a replaced article is always there
            start, stop = len(old.ids), len(old.ids) + len(ids)
            if not start:
                self._room = vectors  # as they are: those of a file stay mapped
            elif stop > len(self._room):
                grown = vectors.new_zeros(max(stop, 2 * len(self._room)), vectors.shape[1])
                grown[:start] = old.vectors
                self._room = grown
            if start:
                self._room[start:stop] = vectors  # rows that no shelf shows yet
            rows = {**old.rows, **{name: start + place for place, name in enumerate(ids)}}
            self.shelf = Shelf((*old.ids, *ids), (*old.texts, *texts), rows, self._room[:stop])

    def forget(self, ids: Sequence[str]) -> None:
        """Remove articles; those that stay keep their order."""
        with self._changing:
            self.shelf = self._without(set(ids))

    def _without(self, ids: set[str]) -> Shelf:
        """The shelf without some articles."""
        old = self.shelf
        if not ids & old.rows.keys():
            return old
        kept = [row for row, name in enumerate(old.ids) if name not in ids]
        names = tuple(old.ids[row] for row in kept)
        self._room = old.vectors[kept]  # a copy: who reads the old shelf goes on reading it
        texts = tuple(old.texts[row] for row in kept)
        rows = {name: row for row, name in enumerate(names)}
        return Shelf(names, texts, rows, self._room)


def best_rows(scores: NDArray[np.float32], k: int, left_out: Sequence[Sequence[int]]) -> list[Best]:
    """The rows with the ``k`` highest scores of each user, best first, and these scores.

    Of equal scores the first row comes first.

    Shapes:
        scores: ``[users, articles]``, none of them NaN; it is overwritten.
        left_out: rows that a user is not shown.
    """
    found = []
    for user, rows in zip(scores, left_out, strict=True):
        user[list(rows)] = -np.inf
        few = min(k, len(user) - len(set(rows)))
        if few <= 0:
            found.append((np.empty(0, np.int64), np.empty(0, np.float32)))
            continue
        # all that reach the k-th score: a partition alone would choose among equal ones at random
        least = np.partition(user, len(user) - few)[len(user) - few]
        reach = np.flatnonzero(user >= least)
        best = reach[np.argsort(-user[reach], kind="stable")[:few]]
        found.append((best, user[best]))
    return found


def save_shelf(shelf: Shelf, identity: str, path: Path) -> None:
    """Write articles and vectors into one safetensors file; a killed run leaves the old one."""
    articles = json.dumps({"ids": shelf.ids, "texts": shelf.texts}).encode()
    tensors = {
        "vectors": shelf.vectors.detach().cpu().contiguous().clone(),
        "articles": torch.frombuffer(bytearray(articles), dtype=torch.uint8),
    }
    write_tensors(tensors, path, {"format": FORMAT, "recommender": identity})


def read_shelf(path: Path, identity: str) -> tuple[list[str], list[str], Tensor]:
    """Ids, texts and vectors of a saved index.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no index, is damaged, or holds the vectors of another recommender.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"An index of news is expected in {path.absolute()}, and there is no such file. Write "
            "it with add_news and save_index."
        )
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                raise ValueError(f"{path} expects an index of news, as save_index writes it.")
            if about.get("recommender") != identity:
                raise OtherRecommenderError(
                    f"{path} expects the recommender that it was saved with, and was saved with "
                    "another one: its vectors mean something else. Add the news again with "
                    "add_news, and save_index."
                )
            articles = json.loads(bytes(file.get_tensor("articles").numpy()))
            return articles["ids"], articles["texts"], file.get_tensor("vectors")
    except SafetensorError as problem:
        raise ValueError(f"{path} is damaged: {problem}. Write it again: save_index.") from problem
