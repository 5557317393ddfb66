"""Compact containers of ids: four bytes per list entry, one bit per seen id."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

_PAGE = 16  # low bits of a number: its position in a page
_BOUND = 1 << 32


class NumberedIds(dict[str, int]):
    """Numbers for distinct ids, from 0 in order of first occurrence; ``names`` are the ids."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __missing__(self, name: str) -> int:
        self[name] = number = len(self)
        self.names.append(name)
        return number

    def numbers(self, names: Iterable[str]) -> list[int]:
        """The numbers of ids, which may be new."""
        return list(map(self.__getitem__, names))


class RaggedNumbers:
    """Integer rows of varying length, in the order added."""

    def __init__(self) -> None:
        self._values, self._ends = array("i"), array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> Sequence[int]:
        return self._values[self._ends[row] : self._ends[row + 1]]

    def add(self, numbers: Iterable[int]) -> None:
        """Append a row."""
        self._values.extend(numbers)
        self._ends.append(len(self._values))


class Histories:
    """Article ids by user, oldest click first, in a tenth of the memory of strings."""

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
        """The user's history, empty if unknown."""
        row = self._rows.get(user)
        return [] if row is None else [self._articles.names[each] for each in self._clicks[row]]


class SeenIds:
    """Impression ids of a file: dense integers as bits, others in a set."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._others: set[int | str] = set()

    def add(self, name: int | str) -> bool:
        """Add an id; return whether it is new.

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
