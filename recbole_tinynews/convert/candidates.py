"""The candidates of one impression and their labels, in bulk string operations."""

from __future__ import annotations

from typing import NamedTuple

from recbole_tinynews.convert.errors import LineError, quoted
from recbole_tinynews.files.columns import PADDING

MOST_IDS = 100_000  # of one user; MIND's longest history has under a thousand


class Candidates(NamedTuple):
    """Ids in the order of display; ``labels`` as in the atomic file (``0 1 0``), '' for none."""

    ids: list[str]
    labels: str


def parse_candidates(text: str, column: int) -> Candidates:
    """Candidates of a line whose candidates all carry a label, or none does.

    >>> parse_candidates("N1-0 N2-1 N3-0", column=5)
    Candidates(ids=['N1', 'N2', 'N3'], labels='0 1 0')
    >>> parse_candidates("N1 N2", column=5)
    Candidates(ids=['N1', 'N2'], labels='')

    Raises:
        LineError: no candidate, an empty id, white space in an id, or labels for some only.
    """
    if not text:
        raise LineError("no candidates", "expected at least one candidate, got none.", column)
    _check_number(text, column)
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


def parse_ids(text: str, column: int) -> list[str]:
    """Ids separated by single spaces; '' holds none.

    Raises:
        LineError: an id is empty, holds white space, where a later reader would cut it in two, or
            is RecBole's padding.
    """
    _check_number(text, column)
    ids = text.split()
    if PADDING in text and PADDING in ids:
        raise reserved_id(column)
    if " ".join(ids) == text:
        return ids
    for position, token in enumerate(text.split(" "), 1):  # slow, to say which
        if not token:
            raise LineError(
                "empty id",
                f"expected ids separated by single spaces, got an empty one at place {position}.",
                column,
            )
        if token.split() != [token]:
            raise LineError(
                "white space in an id",
                f"expected an id without white space at place {position}, got {quoted(token)}.",
                column,
            )
    raise AssertionError(text)


def _check_number(text: str, column: int) -> None:
    """Refuse what no user has clicked or seen, before it fills the memory with ids.

    Raises:
        LineError: there are more than ``MOST_IDS``.
    """
    if (number := text.count(" ") + 1) > MOST_IDS:
        raise LineError(
            "too many ids", f"expected at most {MOST_IDS:,} ids, got {number:,}.", column
        )


def reserved_id(column: int) -> LineError:
    """The error of an id that RecBole keeps for itself: news with it would become padding."""
    return LineError(
        "reserved id", f"expected an id other than RecBole's padding, got '{PADDING}'.", column
    )


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
