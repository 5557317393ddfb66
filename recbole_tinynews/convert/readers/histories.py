"""The histories of all users of a file, in four bytes for each click."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.convert.readers.numbered import NumberedIds, RaggedNumbers


class Histories:
    """Article ids by user, oldest click first.

    EB-NeRD's largest set has some hundred million clicks in histories, and as lists of text they
    would take ten times this memory.
    """

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._articles, self._clicks = NumberedIds(), RaggedNumbers()

    def __contains__(self, user: str) -> bool:
        return user in self._rows

    def add(self, user: str, articles: Sequence[str]) -> None:
        """Keep the history of a user who has none yet."""
        self._rows[user] = len(self._clicks)
        self._clicks.add(self._articles.numbers(articles))

    def of(self, user: str) -> list[str]:
        """The articles; of an unknown user, none."""
        row = self._rows.get(user)
        return [] if row is None else self._articles.names(self._clicks[row])


def order_of(times: Sequence[int]) -> NDArray[np.int64] | None:
    """The order that makes times ascend, equal ones as they are; None if they do."""
    given = np.asarray(times, np.int64)
    if (given[1:] >= given[:-1]).all():
        return None
    return np.argsort(given, kind="stable")
