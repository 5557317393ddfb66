"""Which impression ids were there before, in a bit each."""

from __future__ import annotations

_PAGE = 16  # bits of a number that are its place in a page
_BOUND = 1 << 32


class SeenIds:
    """Ids of one file; whole numbers take a bit each where they are dense, others as in a set."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._others: set[int | str] = set()

    def add(self, name: int | str) -> bool:
        """Remember an id; whether it is new.

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
