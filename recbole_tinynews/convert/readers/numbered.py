"""Ids as numbers, and lists of numbers one after the other: four bytes for each, not fifty."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence


class NumberedIds:
    """A number for each distinct id, from 0 in the order of their first occurrence."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The number of an id, which may be new."""
        number = self._numbers.setdefault(name, len(self._names))
        if number == len(self._names):
            self._names.append(name)
        return number

    def numbers(self, names: Iterable[str]) -> list[int]:
        """The numbers of ids, which may be new."""
        return list(map(self.number, names))

    def name(self, number: int) -> str:
        """The id of a number."""
        return self._names[number]

    def names(self, numbers: Iterable[int]) -> list[str]:
        """The ids of numbers."""
        return list(map(self._names.__getitem__, numbers))


class RaggedNumbers:
    """Lists of numbers by row, from 0 in the order they were added."""

    def __init__(self) -> None:
        self._values, self._ends = array("i"), array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> Sequence[int]:
        return self._values[self._ends[row] : self._ends[row + 1]]

    def add(self, numbers: Iterable[int]) -> None:
        """Keep one more list."""
        self._values.extend(numbers)
        self._ends.append(len(self._values))
