"""Vectors of the texts that were used last: each is encoded when it first appears."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class KnownVectors:
    """Texts to vectors; the ``capacity`` most recently used are kept. Threads may share it.

    Args:
        encode: ``texts -> [texts, dim]``.
        capacity: how many vectors are kept.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Tensor], capacity: int) -> None:
        self._encode, self.capacity = encode, capacity
        self._slots: OrderedDict[str, int] = OrderedDict()  # by text, the one used last at the end
        self._table: Tensor | None = None  # [slots, dim]
        self._make_locks()

    def _make_locks(self) -> None:
        self._reading = threading.Lock()  # short: of slots and table
        self._encoding = threading.Lock()  # long: no two threads encode the same text

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the locks, which belong to this process."""
        return {k: v for k, v in vars(self).items() if k not in ("_reading", "_encoding")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore it with locks of its own."""
        vars(self).update(state)
        self._make_locks()

    def __contains__(self, text: str) -> bool:
        return text in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Vectors of distinct texts, ``[texts, dim]``; those that are not known are encoded."""
        found = self._found(texts)
        if found is not None:  # the texts of most requests: they wait for nobody's encoding
            return found
        with self._encoding:
            new = [text for text in texts if text not in self._slots]
            made = dict(zip(new, self._encode(new), strict=True)) if new else {}
            with self._reading:
                known = [text for text in texts if text not in made]
                rest = dict(zip(known, self._rows(known), strict=True)) if known else {}
                self._keep(made)
            return torch.stack([made[text] if text in made else rest[text] for text in texts])

    def _found(self, texts: Sequence[str]) -> Tensor | None:
        """Their vectors, if all are known."""
        with self._reading:
            return self._rows(texts) if all(text in self._slots for text in texts) else None

    def _rows(self, texts: Sequence[str]) -> Tensor:
        assert self._table is not None
        for text in texts:
            self._slots.move_to_end(text)
        return self._table[[self._slots[text] for text in texts]]

    def _keep(self, made: dict[str, Tensor]) -> None:
        for text, vector in made.items():
            if len(self._slots) < self.capacity:
                slot = len(self._slots)
            else:
                slot = self._slots.popitem(last=False)[1]
            self._slots[text] = slot
            self._room(slot, vector)[slot] = vector

    def _room(self, slot: int, vector: Tensor) -> Tensor:
        """The table, with room for a slot: it doubles, up to the capacity."""
        have = 0 if self._table is None else len(self._table)
        if self._table is None or slot >= have:
            size = min(max(2 * have, 1024), self.capacity)
            grown = vector.new_zeros(size, len(vector))
            if self._table is not None:
                grown[:have] = self._table
            self._table = grown
        return self._table
