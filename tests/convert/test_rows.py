from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_tinynews.convert.errors import ConversionError, LineError, SkippedLines, stop
from recbole_tinynews.convert.readers.rows import read_rows

COLUMNS = ("id", "text")


def rows(path: Path) -> list[tuple[int, list[str]]]:
    return [row for row in read_rows(path, COLUMNS, stop)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows") / "rows.tsv"


@given(
    texts=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\0\ufeff")), min_size=1
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    mark=st.booleans(),
    packed=st.booleans(),
)
def test_text_survives_every_way_of_ending_lines(
    file: Path, texts: list[str], end: str, last: bool, mark: bool, packed: bool
) -> None:
    """str.splitlines cuts a title at U+2028, U+0085, a form feed and five more."""
    content = ("\ufeff" * mark + end.join(f"N\t{text}" for text in texts) + end * last).encode()
    file.write_bytes(gzip.compress(content) if packed else content)
    assert rows(file) == [(number, ["N", text]) for number, text in enumerate(texts, 1)]


def test_a_lone_carriage_return_is_text(file: Path) -> None:
    file.write_bytes(b"N\ta\rb\r\nN\tc\r\r\n")
    assert rows(file) == [(1, ["N", "a\rb"]), (2, ["N", "c\r"])]


def test_line_numbers_continue_across_batches(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that starts again with each batch sends the user to the wrong line."""
    monkeypatch.setattr("recbole_tinynews.files.lines.BLOCK", 16)
    file.write_bytes(b"N\ttext\n" * 50 + b"N\n")
    with pytest.raises(LineError, match=r"rows\.tsv:51: expected 2 tab-separated columns"):
        rows(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b"N\ta\n\n", ":2: expected 2 tab-separated columns .id, text., got 1 in ''"),
        (b"N\ta\tb\n", ":1: expected 2 tab-separated columns .id, text., got 3"),
        (b"N\ta\nN\tb\xffc\n", ":2: expected UTF-8, got b'.xffc' at byte 4 of the line"),
        (b"N\ta\0b\n", ":1: expected text, got a NUL byte at byte 4"),
        ("N\ta\n".encode("utf-16"), ":1: expected text, got a NUL byte"),
        (
            gzip.compress(b"N\ta\n" * 99, mtime=0)[:-9],
            "expects a whole gzip file, and after line 0 cannot be read",
        ),
        (b"\x1f\x8bnonsense", "expects a whole gzip file, and after line 0 cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_place(
    file: Path, content: bytes, message: str
) -> None:
    file.write_bytes(content)
    with pytest.raises(ConversionError, match=message):
        rows(file)


def test_skipped_lines_do_not_shift_the_numbers_of_others(file: Path) -> None:
    file.write_bytes(b"N\ta\nbad\nN\tb\n")
    skipped = SkippedLines()
    assert [number for number, _ in read_rows(file, COLUMNS, skipped)] == [1, 3]
    assert skipped.summary()["total"] == 1


def test_a_file_of_line_ends_is_counted_without_looking_at_each(tmp_path: Path) -> None:
    """A gzip of 400 MB of them took hours; the rows around them are read."""
    file = tmp_path / "rows.tsv.gz"
    with gzip.open(file, "wb", compresslevel=1) as out:
        out.write(b"1\t2\n" + b"\n" * 5_000_000 + b"4\t5")
    skipped, started = SkippedLines(), time.perf_counter()
    found = list(read_rows(file, COLUMNS, skipped))
    assert time.perf_counter() - started < 20  # a second or two by itself
    assert [number for number, _ in found] == [1, 5_000_002]
    assert skipped.summary()["total"] == 5_000_000
