"""Parse and validate cells, text or Python values of typed files; bad ones raise ``LineError``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, NamedTuple

from recbole_tinynews.convert.errors import Column, LineError, quoted
from recbole_tinynews.files.columns import CONTEXT_ARTICLE, PADDING, SUBSCRIBER, is_token

_MARKS = {
    **dict.fromkeys(("0", "0.0", "false", "no"), False),
    **dict.fromkeys(("1", "1.0", "true", "yes"), True),
}
_LABELS = frozenset(("-0", "-1"))  # after MIND's candidates
MOST_IDS = 100_000  # per cell; MIND's longest history has under a thousand


def id_of(cell: Any, column: Column) -> str:
    """An id from text or an integer: not empty, without white space, not RecBole's padding."""
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    if not isinstance(cell, str):
        raise LineError("empty id", "an id", _shown(cell), column)
    text = check_text(cell, column)
    if text.split() == [text]:
        _check_padding(text, column)
        return text
    if not text.strip():
        raise LineError("empty id", "an id", quoted(text), column)
    raise LineError("white space in an id", "an id without white space", quoted(text), column)


def ids_of(cell: Any, column: Column) -> list[str]:
    """Up to ``MOST_IDS`` ids from a list, an integer, or text split at single spaces ('': none)."""
    if isinstance(cell, str):
        return _split(check_text(cell, column), column)
    if isinstance(cell, int):
        return [id_of(cell, column)]
    if not isinstance(cell, list):
        raise LineError("no ids", "ids", _shown(cell), column)
    _check_number(len(cell), column)
    if set(map(type, cell)) == {int}:  # nearly every cell of EB-NeRD
        return list(map(str, cell))
    return [id_of(part, column) for part in cell]


def text_of(cell: Any, column: Column) -> str:
    """Validated text, '' for a missing cell."""
    return "" if cell is None else check_text(str(cell), column)


def check_text(text: str, column: Column) -> str:
    """The text, unless a NUL byte or lone surrogate prevents writing and reading it back."""
    if "\0" in text:
        raise LineError("NUL byte", "text", f"a NUL byte in {quoted(text)}", column)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            got = f"a lone surrogate in {quoted(text)}"
            raise LineError("invalid Unicode", "text", got, column) from None
    return text


class MindCandidates(NamedTuple):
    """Ids in display order; ``labels`` as in the atomic file (``0 1 0``), '' if unlabelled."""

    ids: list[str]
    labels: str


def mind_candidates(text: str, column: Column) -> MindCandidates:
    """Parse MIND's candidates, all labelled or none.

    >>> mind_candidates("N1-0 N2-1 N3-0", column=5)
    MindCandidates(ids=['N1', 'N2', 'N3'], labels='0 1 0')
    >>> mind_candidates("N1 N2", column=5)
    MindCandidates(ids=['N1', 'N2'], labels='')
    """
    _check_number(text.count(" ") + 1, column)  # before splitting fills the memory
    tokens = text.split(" ")
    labels = [token[-2:] for token in tokens]
    if _LABELS.issuperset(labels):
        ids = shown_in(" ".join([token[:-2] for token in tokens]), column)
        return MindCandidates(ids, " ".join([label[1] for label in labels]))
    if not _LABELS.isdisjoint(labels):
        place = next(place for place, label in enumerate(labels) if label not in _LABELS)
        expected = f"-0 or -1 after candidate {place + 1}, as after others of this line"
        raise LineError("candidate without label", expected, quoted(tokens[place]), column)
    return MindCandidates(shown_in(text, column), "")


def shown_in(cell: Any, column: Column) -> list[str]:
    """Candidate ids, at least one."""
    shown = ids_of(cell, column)
    if not shown:
        raise LineError("no candidates", "at least one candidate", "none", column)
    return shown


def clicked_in(cell: Any, column: Column, shown: Sequence[str]) -> list[str]:
    """Clicked ids, all among those shown."""
    clicked = ids_of(cell, column)
    if strange := set(clicked).difference(shown):
        got = f"{quoted(min(strange))}, which was not"
        raise LineError("clicked but not shown", "clicks on what was shown", got, column)
    return clicked


def mark_of(cell: Any) -> bool | None:
    """Whether a cell that marks a click says so, or None if it is no mark.

    >>> mark_of("1"), mark_of(False), mark_of(1.0), mark_of("N1"), mark_of("")
    (True, False, True, None, None)
    """
    return _MARKS.get(str(cell).lower())


def marked_in(cell: Any, column: Column) -> bool:
    """Whether a cell says yes, from 0 or 1, true or false, yes or no."""
    mark = mark_of(cell)
    if mark is None:
        raise LineError(
            "neither 0 nor 1", "0 or 1 (or true, false, yes or no)", _shown(cell), column
        )
    return mark


def context_of(cells: Mapping[str, Any], column: Callable[[str], str]) -> dict[str, str]:
    """Columns of ``CONTEXT`` as in the atomic file, '' where nothing is known.

    ``cells`` are by the name in the atomic file; ``column`` gives the name for errors.
    """
    return {name: _context(name, cell, column(name)) for name, cell in cells.items()}


def _context(name: str, cell: Any, column: Column) -> str:
    if cell is None or cell == "" or cell != cell:  # NaN: pandas has no whole number for nothing
        return ""
    if name == SUBSCRIBER:
        return str(int(marked_in(cell, column)))
    if not is_token(name):
        return _number_in(cell, column)
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if name == CONTEXT_ARTICLE:
        return id_of(cell, column)
    return " ".join(text_of(cell, column).split())


def _number_in(cell: Any, column: Column) -> str:
    try:
        number = float(cell)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise LineError("no number", "a number", _shown(cell), column)
    return f"{number:g}"


def one_id_of(cell: Any, column: Column) -> str:
    """The single id in a cell, a list of one included."""
    if isinstance(cell, list) and len(cell) == 1:
        return id_of(cell[0], column)
    return id_of(cell, column)


def labels_of(shown: Sequence[object], clicked: Sequence[object]) -> str:
    """Labels of candidates, as in the atomic file.

    >>> labels_of(["N1", "N2", "N3"], ["N2"])
    '0 1 0'
    """
    return " ".join(["1" if each in clicked else "0" for each in shown])


def duplicate(what: str, name: object, column: Column, first: str = "") -> LineError:
    """Error for an id that an earlier row has."""
    got = f"{quoted(str(name))}{first} again"
    return LineError(f"duplicate {what}", "a unique id", got, column)


def _split(text: str, column: Column) -> list[str]:
    _check_number(text.count(" ") + 1, column)  # before splitting fills the memory
    ids = text.split()
    if PADDING in ids:
        _check_padding(PADDING, column)
    if " ".join(ids) == text:
        return ids
    tokens = enumerate(text.split(" "), 1)
    position, token = next((number, token) for number, token in tokens if [token] != token.split())
    if not token:
        got = f"an empty one at place {position}"
        raise LineError("empty id", "ids separated by single spaces", got, column)
    expected = f"an id without white space at place {position}"
    raise LineError("white space in an id", expected, quoted(token), column)


def _check_number(number: int, column: Column) -> None:
    if number > MOST_IDS:
        raise LineError("too many ids", f"at most {MOST_IDS:,} ids", f"{number:,}", column)


def _check_padding(text: str, column: Column) -> None:  # news with this id would become padding
    if text == PADDING:
        raise LineError("reserved id", "an id other than RecBole's padding", repr(text), column)


def _shown(cell: Any) -> str:
    return "nothing" if cell is None else quoted(str(cell))


SECONDS_A_DAY = 86_400

_MIND = re.compile(
    r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}) (0?[1-9]|1[0-2]):([0-9]{2}):([0-9]{2}) (AM|PM)"
)
# Stricter than fromisoformat, which varies with the Python version. Fractions are dropped.
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
_TIME = "seconds since 1970 or a time such as 2024-03-01T08:00:00"
_COMPACT = re.compile("(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])")  # 20240301
EARLIEST, MILLISECONDS = -62_135_596_800, 100_000_000_000  # as seconds: the years 1 and 5138


def utc_seconds(text: str, column: Column | None = None) -> int:
    """UTC seconds of MIND's format, month first: ``11/15/2019 8:55:22 AM``; else ``LineError``.

    >>> utc_seconds("1/2/1970 12:05:00 AM"), utc_seconds("1/2/1970 12:05:00 PM")
    (86700, 129900)
    """
    match, why = _MIND.fullmatch(text), ""
    if match is not None:
        month, day, year, hour, minute, second = map(int, match.groups()[:6])
        hour = hour % 12 + (12 if match[7] == "PM" else 0)
        try:
            moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
            return int(moment.timestamp())
        except ValueError as error:
            why = f" ({error})"
    expected = "a time such as 11/15/2019 8:55:22 AM"
    raise LineError("unknown time", expected, f"{quoted(text)}{why}", column)


def iso(seconds: int) -> str:
    """UTC seconds as ISO 8601."""
    return f"{datetime.fromtimestamp(seconds, timezone.utc).isoformat()[:19]}Z"


def seconds_of(cell: Any, column: Column) -> int:
    """UTC seconds from a number, numeric text, ISO 8601 (UTC without zone) or MIND's format.

    >>> seconds_of("1970-01-02T00:00:00+01:00", "time"), seconds_of("1/2/1970 12:05:00 AM", "time")
    (82800, 86700)
    """
    number, got = cell if isinstance(cell, int | float) else _parse(str(cell)), quoted(str(cell))
    unreadable = isinstance(number, float) and not math.isfinite(number)
    if number is None or unreadable or isinstance(cell, bool):
        raise LineError("unknown time", _TIME, got, column)
    if not EARLIEST <= number < MILLISECONDS:
        advice = "Divide milliseconds by 1000."
        raise LineError("unknown time", "seconds since 1970", got, column, advice)
    seconds = math.floor(number)
    if seconds == number and _COMPACT.fullmatch(str(seconds)):
        got += ", a day of 1970 or, more likely, a date"
        raise LineError("unknown time", _TIME, got, column)
    return seconds


def published_of(cell: Any, column: Column) -> str:
    """Publication time as UTC seconds in text, '' for an empty cell; else ``LineError``."""
    return "" if cell in (None, "") else str(seconds_of(cell, column))


def _parse(text: str) -> float | None:
    for parse in (_number, utc_seconds, _iso):
        with suppress(ValueError, OverflowError):
            return parse(text)
    return None


def _number(text: str) -> float:
    if not text.isascii() or "_" in text or text.strip() != text:  # float() accepts these
        raise ValueError(text)
    return float(text)


def _iso(text: str) -> float:
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day, clock, zone = match.groups()
    zone = zone if zone not in (None, "Z") else "+00:00"
    return datetime.fromisoformat(f"{day}T{clock or '00:00'}{zone}").timestamp()
