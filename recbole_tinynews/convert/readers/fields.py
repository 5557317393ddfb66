"""Ids and texts of a row, checked alike for every format."""

from __future__ import annotations

from typing import Any

from recbole_tinynews.convert.errors import Column, LineError, quoted
from recbole_tinynews.files.columns import PADDING

MOST_IDS = 100_000  # of one user; MIND's longest history has under a thousand


def parse_id(text: str, column: Column) -> str:
    """The text itself, if a later reader of the atomic file takes it for one id.

    Raises:
        LineError: it is empty, holds white space, or is RecBole's padding.
    """
    if text.split() == [text]:
        if text == PADDING:
            raise reserved_id(column)
        return text
    if not text.strip():
        raise LineError("empty id", f"expected an id, got {quoted(text)}.", column)
    raise LineError(
        "white space in an id", f"expected an id without white space, got {quoted(text)}.", column
    )


def parse_ids(text: str, column: Column) -> list[str]:
    """Ids separated by single spaces; '' holds none.

    Raises:
        LineError: an id is empty, holds white space, where a later reader would cut it in two, or
            is RecBole's padding.
    """
    check_number(text.count(" ") + 1, column)
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


def check_number(number: int, column: Column) -> None:
    """Refuse what no user has clicked or seen, before it fills the memory with ids.

    Raises:
        LineError: there are more than ``MOST_IDS``.
    """
    if number > MOST_IDS:
        raise LineError(
            "too many ids", f"expected at most {MOST_IDS:,} ids, got {number:,}.", column
        )


def reserved_id(column: Column) -> LineError:
    """The error of an id that RecBole keeps for itself: news with it would become padding."""
    return LineError(
        "reserved id", f"expected an id other than RecBole's padding, got '{PADDING}'.", column
    )


def duplicate_impression(impression_id: object, column: Column) -> LineError:
    """The error of an impression whose id another one has."""
    return LineError(
        "duplicate impression id",
        f"expected a unique id, got {quoted(str(impression_id))} again.",
        column,
    )


def id_of(cell: Any, column: Column) -> str:
    """The id in a cell of a table: text, or a whole number.

    Raises:
        LineError: it is missing or no id.
    """
    if isinstance(cell, str):
        return parse_id(check_text(cell, column), column)
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    raise LineError("empty id", f"expected an id, got {_shown(cell)}.", column)


def ids_of(cell: Any, column: Column) -> list[str]:
    """The ids in a cell: a list, text with single spaces between, or one whole number.

    Raises:
        LineError: the cell is missing, or an id in it is none.
    """
    if isinstance(cell, str):
        return parse_ids(check_text(cell, column), column)
    if isinstance(cell, int):
        return [id_of(cell, column)]
    if not isinstance(cell, list):
        raise LineError("no ids", f"expected ids, got {_shown(cell)}.", column)
    check_number(len(cell), column)
    if set(map(type, cell)) == {int}:  # as in nearly every cell of EB-NeRD
        return list(map(str, cell))
    return [id_of(each, column) for each in cell]


def text_of(cell: Any, column: Column) -> str:
    """The text of a cell; of a missing one, none.

    Raises:
        LineError: it can't be written and read again.
    """
    return "" if cell is None else check_text(str(cell), column)


def check_text(text: str, column: Column) -> str:
    """The text, if it can be written and read again.

    Raises:
        LineError: it has a NUL byte, or half of a surrogate pair.
    """
    if "\0" in text:
        raise LineError("NUL byte", f"expected text, got a NUL byte in {quoted(text)}.", column)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise LineError(
                "invalid Unicode",
                f"expected text, got half of a character in {quoted(text)}.",
                column,
            ) from None
    return text


def _shown(cell: Any) -> str:
    return "nothing" if cell is None else quoted(str(cell))
