"""What a row of a table is: a click, an impression or a candidate, told by its first rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from recbole_tinynews.convert.errors import ConversionError, quoted
from recbole_tinynews.convert.readers.cells import mark_of

CLICKS, IMPRESSIONS, CANDIDATES = "clicks", "impressions", "candidates"
ROWS = (CLICKS, IMPRESSIONS, CANDIDATES)
SAMPLE = 1_000  # rows looked at
SHOWN_IN_ERRORS = 3
MARK_NAMES = ("label", "labels", "target")  # beside all names with "click" in them
_ROLES = {CLICKS: ("clicked",), IMPRESSIONS: ("shown",), CANDIDATES: ("article", "shown")}

Cells = Mapping[str, Any]  # of a row, by the name of the column


class Shape(NamedTuple):
    """What each row is; ``article`` is the role whose cell is the candidate of a row."""

    rows: str
    reason: str
    article: str | None = None


def recognised(columns: Mapping[str, str], sample: Sequence[Cells], stated: str | None) -> Shape:
    """What the rows of a table are.

    ``columns`` are names by role, of those that the table has; ``sample`` are its first rows;
    ``stated`` is ``--rows``. ``ConversionError`` shows the first rows in both readings if they
    have two, or says which column a stated shape lacks.
    """
    if stated in ROWS:  # another one is refused with the options
        return _stated(columns, stated)
    if "clicked" not in columns:
        return _unlabelled(columns)
    marked = [mark_of(row[columns["clicked"]]) is not None for row in sample]
    if "shown" in columns and not ("article" in columns and all(marked)):
        return _with_all_shown(columns, sample, bool(sample) and all(marked))
    if "article" in columns and all(marked):
        return _candidates(columns, "article")
    if "article" in columns and 2 * sum(marked) >= len(marked):
        odd = [row for row, mark in zip(sample, marked, strict=True) if not mark]
        article = columns["article"], columns["clicked"]
        raise _ambiguous(columns, [sample[0], *odd], CLICKS, article)
    return _clicks(columns, sample, "article" not in columns and bool(sample) and all(marked))


def _stated(columns: Mapping[str, str], rows: str) -> Shape:
    wanted = _ROLES[rows]
    role = next((role for role in wanted if role in columns), None)
    if role is None:
        raise ConversionError(
            f"--rows={rows} expects a column {' or '.join(wanted)}, found "
            f"{', '.join(columns.values())}. Name it with --columns={wanted[0]}=NAME."
        )
    return Shape(rows, f"--rows={rows}", role if rows == CANDIDATES else None)


def _unlabelled(columns: Mapping[str, str]) -> Shape:
    if "shown" in columns:
        return Shape(IMPRESSIONS, f"{columns['shown']} has all candidates, without clicks")
    raise ConversionError(
        f"expected a column clicked beside {columns['article']}, found none. Is each article "
        f"clicked, pass --columns=clicked={columns['article']}; was each shown, in a test set "
        f"without labels, pass --rows={CANDIDATES}."
    )


def _candidates(columns: Mapping[str, str], article: str) -> Shape:
    reason = f"{columns['clicked']} is 0 or 1 and {columns[article]} is one id"
    return Shape(CANDIDATES, reason, article)


def _with_all_shown(columns: Mapping[str, str], sample: Sequence[Cells], marked: bool) -> Shape:
    shown, clicked = columns["shown"], columns["clicked"]
    if not marked or not all(_is_one(row[shown]) for row in sample):
        return Shape(IMPRESSIONS, f"{shown} has all candidates, {clicked} the ids of those clicked")
    if all(str(row[shown]) == str(row[clicked]) for row in sample):
        raise _ambiguous(columns, sample, IMPRESSIONS, (shown, clicked))
    return _candidates(columns, "shown")


def _clicks(columns: Mapping[str, str], sample: Sequence[Cells], marked: bool) -> Shape:
    clicked = columns["clicked"]
    if marked:
        raise _ambiguous(columns, sample, CLICKS, (None, clicked), "article=NAME")
    if (marks := _unused_marks(columns, sample)) is not None:
        roles = f"article={clicked},clicked={marks}"
        raise _ambiguous(columns, sample, CLICKS, (clicked, marks), roles)
    return Shape(CLICKS, f"{clicked} is the id of the article clicked, nothing says what was shown")


def _unused_marks(columns: Mapping[str, str], sample: Sequence[Cells]) -> str | None:
    """A column without a role that seems to say which rows are clicks, or None.

    By its name, or because it has 0 and 1 in rows that mostly share their reader and time.
    """
    times = {(str(row[columns["user"]]), str(row[columns["time"]])) for row in sample}
    shared = 2 * len(times) <= len(sample)
    for name in [name for name in (sample[0] if sample else ()) if name not in columns.values()]:
        marks = {mark_of(row[name]) for row in sample}
        named = "click" in name.lower() or name.lower() in MARK_NAMES
        if None not in marks and (named or (shared and len(marks) == 2)):
            return name
    return None


def _ambiguous(
    columns: Mapping[str, str],
    sample: Sequence[Cells],
    rows: str,
    candidate: tuple[str | None, str],
    roles: str | None = None,
) -> ConversionError:
    """The error for rows that are ``rows``, or candidates in a column with marks in another.

    ``roles`` are those that the second reading needs.
    """
    article, marks = candidate
    verbs = {True: "and clicked it", False: "and did not click it"}

    def sentence(row: Cells, reading: str) -> str:
        clicked = row[columns["clicked"]]
        if reading == CANDIDATES:
            shown = "an article" if article is None else row[article]
            mark = mark_of(row[marks])
            what = f"with mark {row[marks]!r}" if mark is None else verbs[mark]
            said = f"was shown {shown} {what}"
        elif reading == IMPRESSIONS:
            said = f"was shown {row[columns['shown']]} alone and clicked {clicked}"
        else:
            said = f"clicked {quoted(str(clicked))}"
        return f"{row[columns['user']]} {said} at {row[columns['time']]}"

    lines = ["expected rows with one meaning, and these have two:"]
    for reading in (rows, CANDIDATES):
        sentences = [sentence(row, reading) for row in sample[:SHOWN_IN_ERRORS]]
        lines.append(f"  as {reading}: {'; '.join(sentences)}.")
    wanted = f"--columns={roles}" if roles else f"--rows={CANDIDATES}"
    lines.append(f"Pass --rows={rows} if the first is right, {wanted} if the second.")
    return ConversionError("\n".join(lines))


def _is_one(cell: Any) -> bool:
    if isinstance(cell, list):
        return len(cell) == 1
    return cell is not None and len(str(cell).split()) == 1
