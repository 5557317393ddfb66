"""Known vectors of articles, and articles given by id, title or fields."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from recbole_tinynews.serving.data_set_files import DataSetTexts
from recbole_tinynews.serving.news_index import Lock, Shelf
from recbole_tinynews.serving.reading import Read, Reading
from recbole_tinynews.serving.requests import Given


class KnownVectors:
    """Thread-safe LRU cache of ``capacity`` vectors; ``encode`` computes missing ones."""

    def __init__(self, encode: Callable[[Sequence[Read]], Tensor], capacity: int) -> None:
        self._encode, self.capacity = encode, capacity
        self._slots: OrderedDict[Read, int] = OrderedDict()  # most recently used last
        self._table = torch.zeros(0, 0)  # [slots, dim]
        self._reading = Lock()  # held briefly: guards slots and table
        self._encoding = Lock()  # held long: no article is encoded twice

    def __call__(self, articles: Sequence[Read]) -> Tensor:
        """Vectors of distinct articles, ``[articles, dim]``."""
        found = self._found(articles)
        if found is not None:  # the usual case, which never waits for encoding
            return found
        with self._encoding:
            new = [each for each in articles if each not in self._slots]
            made = dict(zip(new, self._encode(new), strict=True)) if new else {}
            with self._reading:
                known = [each for each in articles if each not in made]
                rest = dict(zip(known, self._rows(known), strict=True)) if known else {}
                self._keep(made)
            return torch.stack([made[a] if a in made else rest[a] for a in articles])

    def _found(self, articles: Sequence[Read]) -> Tensor | None:
        with self._reading:
            return self._rows(articles) if all(each in self._slots for each in articles) else None

    def _rows(self, articles: Sequence[Read]) -> Tensor:
        for each in articles:
            self._slots.move_to_end(each)
        return self._table[[self._slots[each] for each in articles]]

    def _keep(self, made: dict[Read, Tensor]) -> None:
        for article, vector in made.items():
            is_full = len(self._slots) == self.capacity
            slot = self._slots.popitem(last=False)[1] if is_full else len(self._slots)
            if slot >= len(self._table):
                self._grow(vector)
            self._slots[article] = slot
            self._table[slot] = vector

    def _grow(self, vector: Tensor) -> None:
        size = len(self._table)
        grown = vector.new_zeros(min(max(2 * size, 1024), self.capacity), len(vector))
        if size:
            grown[:size] = self._table
        self._table = grown


Key = int | Read
"""Identifies a vector: the row of an added article in the shelf, or what is read of any other."""


class Lookup:
    """Keys of given articles; added articles take precedence over those of the data set."""

    def __init__(self, reading: Reading, data_set: DataSetTexts) -> None:
        self._reading, self._data_set = reading, data_set

    def keys(
        self, given: Sequence[Sequence[Given]], ids: bool | None, shelf: Shelf
    ) -> list[list[Key]]:
        """Keys of lists of articles; ``ids`` as for ``Ranker.rank``."""
        texts = [each for part in given for each in part if isinstance(each, str)]
        if ids is None:
            ids = self._are_ids(texts, shelf)
        read = self._reading.read
        if not ids:
            return [[read(e if isinstance(e, str) else e[1]) for e in part] for part in given]
        elsewhere = [text for text in dict.fromkeys(texts) if text not in shelf.rows]
        keys: dict[str, Key] = dict(
            zip(elsewhere, self._of_data_set(elsewhere, shelf), strict=True)
        )
        keys.update((text, shelf.rows[text]) for text in texts if text in shelf.rows)
        return [[keys[e] if isinstance(e, str) else read(e[1]) for e in part] for part in given]

    def read(self, ids: Sequence[str], shelf: Shelf) -> list[Read]:
        """The fields read of the articles with these ids."""
        elsewhere = [each for each in ids if each not in shelf.rows]
        read = dict(zip(elsewhere, self._data_set.read(elsewhere), strict=True))
        return [shelf.read[shelf.rows[i]] if i in shelf.rows else read[i] for i in ids]

    def _of_data_set(self, ids: list[str], shelf: Shelf) -> list[Read]:
        try:
            return self._data_set.read(ids)
        except FileNotFoundError as problem:
            if not shelf.ids:
                raise
            raise ValueError(
                f"Ids of the {len(shelf.ids):,} articles that were added are expected, got "
                f"{ids[0]!r}{f' and {len(ids) - 1} more' if len(ids) > 1 else ''}. {problem}"
            ) from None

    def _are_ids(self, texts: list[str], shelf: Shelf) -> bool:
        if any(len(text.split()) != 1 for text in texts):  # titles have several words, or none
            return False
        elsewhere = [text for text in texts if text not in shelf.rows]
        if not elsewhere:
            return True
        try:
            unknown = [text for text in elsewhere if text not in self._data_set]
        except FileNotFoundError:
            if all(any(letter.isdigit() for letter in text) for text in elsewhere):
                raise  # nobody would notice that "N123" was ranked as a title
            unknown = elsewhere
        if unknown and len(unknown) < len(texts):
            known = next(text for text in texts if text not in set(unknown))
            raise ValueError(
                f"rank expects all ids or all titles, got the id {known!r} and {unknown[0]!r}, "
                f"which is not in data set '{self._data_set.name}'. Say which with ids=True or "
                "ids=False, or turn ids into titles with titles(ids)."
            )
        return not unknown
