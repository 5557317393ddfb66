"""Lines, the loop over rows, and ids in cells."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_tinynews.convert.errors import LineError, SkippedLines, stop
from recbole_tinynews.convert.readers.cells import ids_of, mind_candidates
from recbole_tinynews.convert.readers.reader import read_rows

COLUMNS = ("id", "text")


def test_line_numbers_continue_across_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that starts again with each batch sends the user to the wrong line."""
    monkeypatch.setattr("recbole_tinynews.files.lines.BLOCK", 16)
    file = tmp_path / "rows.tsv"
    file.write_bytes(b"N\ttext\n" * 50 + b"N\n")
    with pytest.raises(LineError, match=r"rows\.tsv:51: expected 2 tab-separated columns"):
        list(read_rows(file, COLUMNS, stop))


def test_a_file_of_line_ends_is_counted_without_looking_at_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gzip of 400 MB of them took hours; the rows around them are read."""
    monkeypatch.setattr("recbole_tinynews.files.lines.BLOCK", 1_000)
    file = tmp_path / "rows.tsv.gz"
    with gzip.open(file, "wb", compresslevel=1) as out:
        out.write(b"1\t2\n" + b"\n" * 1_000_000 + b"4\t5")
    skipped, started = SkippedLines(), time.process_time()
    found = list(read_rows(file, COLUMNS, skipped))
    assert time.process_time() - started < 2  # a fifth of a second; one by one, tens of seconds
    assert [number for number, _ in found] == [1, 1_000_002]
    assert skipped.summary()["total"] == 1_000_000


@given(st.text(alphabet="N01- \x0b\u2028", min_size=1, max_size=14))
def test_any_text_of_candidates_is_parsed_exactly_or_refused(text: str) -> None:
    """By token: replacing '-0' anywhere would turn the id 'N-0' into 'N' and shift labels."""
    tokens = text.split(" ")
    labelled = [token[-2:] in ("-0", "-1") for token in tokens]
    news = [token[:-2] if any(labelled) else token for token in tokens]
    good = all(labelled) or not any(labelled)
    if good and all(token.split() == [token] for token in news):
        parsed = mind_candidates(text, column=5)
        assert parsed.ids == news
        assert parsed.labels == " ".join(token[-1] for token in tokens if any(labelled))
    else:
        with pytest.raises(LineError):
            mind_candidates(text, column=5)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((text, "no candidates") for text in ("", "-0")),
        ("N1-0 N2", "candidate without label"),
        ("N1-0  N2-1", "candidate without label"),
        *((text, "empty id") for text in ("N1-0 -1", " ", "N1 ")),
        ("N\u00a01-0", "white space in an id"),
        ("N\r1-0 -0", "white space in an id"),  # one more and one less: counts alone agree
    ],
)
def test_a_broken_list_of_candidates_is_counted_by_its_kind(text: str, kind: str) -> None:
    """A report that counts it as another mistake sends the user to look for that one."""
    with pytest.raises(LineError, match=r"^column 5: expected ") as caught:
        mind_candidates(text, column=5)
    assert caught.value.kind == kind


@pytest.mark.parametrize("parse", [mind_candidates, ids_of])
def test_a_line_of_millions_of_ids_is_a_bad_line(parse) -> None:
    """Its ids would take a hundred times the memory of the line."""
    text = "N1 " * 200_000
    tracemalloc.start()
    with pytest.raises(LineError, match="at most 100,000 ids, got 200,000"):
        parse(text[:-1], 4)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
