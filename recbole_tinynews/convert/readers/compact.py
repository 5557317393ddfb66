"""Ids in memory: four bytes for each in a list, a bit for each that was seen."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

_PAGE = 16  # bits of a number that are its place in a page
_BOUND = 1 << 32


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
        """Append a list."""
        self._values.extend(numbers)
        self._ends.append(len(self._values))


class Histories:
    """Article ids by user, oldest click first.

    EB-NeRD's largest set has some hundred million clicks in histories; lists of text would take
    ten times this memory.
    """

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._articles, self._clicks = NumberedIds(), RaggedNumbers()

    def __contains__(self, user: str) -> bool:
        return user in self._rows

    def add(self, user: str, articles: Sequence[str]) -> None:
        """Store the history of a new user."""
        self._rows[user] = len(self._clicks)
        self._clicks.add(self._articles.numbers(articles))

    def of(self, user: str) -> list[str]:
        """The user's history; empty if the user is unknown."""
        row = self._rows.get(user)
        return [] if row is None else self._articles.names(self._clicks[row])


class SeenIds:
    """The impression ids of one file: dense whole numbers as bits, others in a set."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._others: set[int | str] = set()

    def add(self, name: int | str) -> bool:
        """Remember an id; returns whether it is new.

        >>> seen = SeenIds()
        >>> seen.add(7), seen.add(70_000), seen.add("a"), seen.add(7), seen.add("a")
        (True, True, True, False, False)
        """
        if isinstance(name, str) or not 0 <= name < _BOUND:
            before = len(self._others)
            self._others.add(name)
            return len(self._others) > before
        page = self._pages.get(name >> _PAGE)
        if page is None:
            page = self._pages[name >> _PAGE] = bytearray(1 << (_PAGE - 3))
        place, bit = name >> 3 & (1 << (_PAGE - 3)) - 1, 1 << (name & 7)
        new = not page[place] & bit
        page[place] |= bit
        return new
