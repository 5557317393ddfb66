"""The histories of all users of a file, in four bytes for each click."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Histories:
    """Article ids by user, oldest click first.

    EB-NeRD's largest set has some hundred million clicks in histories, and as lists of text they
    would take ten times this memory.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._rows: dict[str, int] = {}
        self._ends = array("q", [0])
        self._articles = array("i")

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, user: str) -> bool:
        return user in self._rows

    def add(self, user: str, articles: Sequence[str]) -> None:
        """Keep the history of a user who has none yet."""
        self._rows[user] = len(self._rows)
        self._articles.extend(map(self._number, articles))
        self._ends.append(len(self._articles))

    def of(self, user: str) -> list[str]:
        """The articles; of an unknown user, none."""
        row = self._rows.get(user)
        if row is None:
            return []
        articles = self._articles[self._ends[row] : self._ends[row + 1]]
        return list(map(self._names.__getitem__, articles))

    def _number(self, article: str) -> int:
        number = self._numbers.setdefault(article, len(self._names))
        if number == len(self._names):
            self._names.append(article)
        return number


def order_of(times: Sequence[int]) -> NDArray[np.int64] | None:
    """The order that makes times ascend, equal ones as they are; None if they do."""
    given = np.asarray(times, np.int64)
    if (given[1:] >= given[:-1]).all():
        return None
    return np.argsort(given, kind="stable")
