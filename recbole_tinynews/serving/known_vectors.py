"""Cache of the vectors of recently used articles."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from recbole_tinynews.serving.news_index import Lock
from recbole_tinynews.serving.reading import Read


class KnownVectors:
    """Thread-safe LRU cache of ``capacity`` vectors; ``encode`` computes missing ones."""

    def __init__(self, encode: Callable[[Sequence[Read]], Tensor], capacity: int) -> None:
        self._encode, self.capacity = encode, capacity
        self._slots: OrderedDict[Read, int] = OrderedDict()  # most recently used last
        self._table: Tensor | None = None  # [slots, dim]
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
        assert self._table is not None
        for each in articles:
            self._slots.move_to_end(each)
        return self._table[[self._slots[each] for each in articles]]

    def _keep(self, made: dict[Read, Tensor]) -> None:
        for article, vector in made.items():
            if len(self._slots) < self.capacity:
                slot = len(self._slots)
            else:
                slot = self._slots.popitem(last=False)[1]
            self._slots[article] = slot
            self._table_for(slot, vector)[slot] = vector

    def _table_for(self, slot: int, vector: Tensor) -> Tensor:
        size = 0 if self._table is None else len(self._table)
        if self._table is None or slot >= size:
            grown = vector.new_zeros(min(max(2 * size, 1024), self.capacity), len(vector))
            if self._table is not None:
                grown[:size] = self._table
            self._table = grown
        return self._table
