"""The candidates of one impression and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from recbole_tinynews.convert.errors import Column, LineError, quoted
from recbole_tinynews.convert.readers.fields import check_number, ids_of, parse_ids


class Candidates(NamedTuple):
    """Ids in the order of display; ``labels`` as in the atomic file (``0 1 0``), '' for none."""

    ids: list[str]
    labels: str


def parse_candidates(text: str, column: int) -> Candidates:
    """MIND's candidates of a line, which all carry a label, or none does; in bulk operations.

    >>> parse_candidates("N1-0 N2-1 N3-0", column=5)
    Candidates(ids=['N1', 'N2', 'N3'], labels='0 1 0')
    >>> parse_candidates("N1 N2", column=5)
    Candidates(ids=['N1', 'N2'], labels='')

    Raises:
        LineError: no candidate, an empty id, white space in an id, or labels for some only.
    """
    if not text:
        raise _no_candidates(column)
    check_number(text.count(" ") + 1, column)
    parts = (text + " ").split("-1 ")  # each part but the last ends with the id of a click
    labels, ids = [], []
    for part in parts:
        unclicked = part.count("-0 ")
        if unclicked != part.count(" "):
            return _unlabelled(text, column)
        labels.append("0 " * unclicked)
        ids.append(part.replace("-0 ", " "))
    news_ids = parse_ids(" ".join(ids)[:-1], column)
    if not news_ids:
        raise LineError("empty id", f"expected an id before the label, got {quoted(text)}.", column)
    return Candidates(news_ids, "1 ".join(labels)[:-1])


def shown_in(cell: Any, column: Column) -> list[str]:
    """The candidates in a cell of a table.

    Raises:
        LineError: there is none, or an id is none.
    """
    shown = ids_of(cell, column)
    if not shown:
        raise _no_candidates(column)
    return shown


def clicked_in(cell: Any, column: Column, shown: Sequence[str]) -> list[str]:
    """The clicks among the candidates, in a cell of a table.

    Raises:
        LineError: an article was clicked and not shown, or an id is none.
    """
    clicked = ids_of(cell, column)
    strange = set(clicked).difference(shown)
    if strange:
        raise LineError(
            "clicked but not shown",
            f"expected clicks on what was shown, got {quoted(min(strange))}, which was not.",
            column,
        )
    return clicked


def labels_of(shown: Sequence[object], clicked: Sequence[object]) -> str:
    """The labels of candidates as in the atomic file.

    >>> labels_of(["N1", "N2", "N3"], ["N2"])
    '0 1 0'
    """
    return " ".join(["1" if each in clicked else "0" for each in shown])


def _no_candidates(column: Column) -> LineError:
    return LineError("no candidates", "expected at least one candidate, got none.", column)


def _unlabelled(text: str, column: int) -> Candidates:
    padded = text + " "
    if "-0 " in padded or "-1 " in padded:
        place, token = next(
            (place, token)
            for place, token in enumerate(text.split(" "), 1)
            if not token.endswith(("-0", "-1"))
        )
        raise LineError(
            "candidate without label",
            f"expected -0 or -1 after candidate {place}, as after others of this line, got "
            f"{quoted(token)}.",
            column,
        )
    return Candidates(parse_ids(text, column), "")
