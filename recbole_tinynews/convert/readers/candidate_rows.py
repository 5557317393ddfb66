"""Rows of one candidate each, collected into impressions."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from recbole_tinynews.convert.errors import LineError, quoted
from recbole_tinynews.convert.readers.click_log import Row
from recbole_tinynews.convert.readers.compact import NumberedIds


class CandidateRow(NamedTuple):
    """A candidate of an impression; what the table has no column for is None."""

    impression_id: str | None
    user: str
    time: int
    article: str
    clicked: bool | None
    history: Sequence[str] | None


class CandidateRows:
    """Candidates of a file, in a few bytes each.

    Rows with one impression id, else rows of one reader and time, are an impression, wherever they
    stand in the file; its candidates keep the order of the rows.
    """

    def __init__(self) -> None:
        self._articles = NumberedIds()
        self._first: dict[Hashable, int] = {}  # impression id, or reader and time -> index
        self._firsts: list[CandidateRow] = []  # of each impression
        self._impressions, self._candidates = array("i"), array("i")
        self._marks = array("b")  # empty without labels

    def add(self, row: CandidateRow) -> None:
        """Add a row; ``LineError`` if it differs in what all rows of an impression share."""
        key: Hashable = row.impression_id
        index = self._first.get((row.user, row.time) if key is None else key)
        if index is None:
            index = self._first[(row.user, row.time) if key is None else key] = len(self._firsts)
            self._firsts.append(row)
        for name in ("user", "time", "history"):
            first, found = getattr(self._firsts[index], name), getattr(row, name)
            if first != found:
                raise LineError(
                    "impression of two",
                    f"expected one {name} in all rows of an impression, got {quoted(str(found))} "
                    f"after {quoted(str(first))}.",
                    name,
                )
        self._impressions.append(index)
        self._candidates.append(self._articles[row.article])
        if row.clicked is not None:
            self._marks.append(row.clicked)

    def impressions(self) -> Iterator[Row]:
        """A row for each impression, in the order of their first candidates."""
        order = np.argsort(np.frombuffer(self._impressions, np.int32), kind="stable")
        sizes = np.bincount(np.frombuffer(self._impressions, np.int32))
        ends = np.cumsum(sizes).tolist()
        names = self._articles.names
        for first, start, end in zip(self._firsts, [0, *ends], ends, strict=False):
            places = order[start:end].tolist()
            shown = [names[self._candidates[place]] for place in places]
            marks = [self._marks[place] for place in places] if self._marks else None
            clicked = None
            if marks is not None:
                clicked = [name for name, mark in zip(shown, marks, strict=True) if mark]
            yield Row(
                first.impression_id, first.user, first.time, clicked, shown, first.history, marks
            )
