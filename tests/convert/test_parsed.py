from __future__ import annotations

from pathlib import Path

import pytest

from recbole_tinynews.convert.errors import LineError, SkippedLines, stop
from recbole_tinynews.convert.readers.compact import NumberedIds, RaggedNumbers
from recbole_tinynews.convert.readers.rows import parsed

ROWS = [(3, "a"), (5, "b"), (6, "a"), (9, "")]


def no_repeats(kept: list[tuple[int, str]], number: int, text: str) -> tuple[int, str]:
    """What a reader may do: refuse a row by itself, or beside those kept before it."""
    if not text:
        raise LineError("empty", "expected a letter, got none.", "letter")
    if any(text == other for _, other in kept):
        raise LineError("repeated", f"expected another letter than {text}.", 1)
    return number, text


def test_a_refused_row_is_named_by_file_row_and_column_and_the_rest_is_kept() -> None:
    kept: list[tuple[int, str]] = []
    skipped = SkippedLines()
    for record in parsed(Path("f"), ROWS, lambda *row: no_repeats(kept, *row), skipped):
        kept.append(record)  # before the next row is parsed, which is compared with it
    assert kept == [(3, "a"), (5, "b")]
    assert skipped.examples == {
        "repeated": ["f:6: column 1: expected another letter than a."],
        "empty": ["f:9: column letter: expected a letter, got none."],
    }


def test_without_skipping_nothing_is_read_behind_a_refused_row() -> None:
    rows = iter(ROWS)
    with pytest.raises(LineError, match=r"^f:5: column 1: "):
        list(parsed(Path("f"), rows, lambda *row: no_repeats([(1, "b")], *row), stop))
    assert list(rows) == ROWS[2:]


def test_numbered_ids_come_back_as_they_were_given() -> None:
    """A number that two ids share would put one reader's clicks on another article."""
    ids, lists = NumberedIds(), RaggedNumbers()
    given = [["b", "a", "b"], [], ["c"], ["a"]]
    assert not lists
    for names in given:
        lists.add(ids.numbers(names))
    assert [ids.names(lists[row]) for row in range(len(lists))] == given
    assert [ids.name(number) for number in range(3)] == ["b", "a", "c"]
