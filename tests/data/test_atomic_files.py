from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from recbole_tinynews.data import atomic_files
from recbole_tinynews.data.atomic_files import Indices, concatenate, read_impressions, read_news
from recbole_tinynews.data.impressions import Impressions

ROWS = (
    ("1", "U1", "1573310962", "N1 N2", "N4 N5 N8", "1 0 0"),
    ("2", "U2", "1573310999.0", "", "N1", "1.0"),
    ("3", "U1", "-5", "N9", "N1 N2", ""),
    ("3", "U3", "0", "", "", ""),
    ("last", "U4", "1573310962", "N1", "N7 N1", "0 1"),
)


def read(file: Path) -> Impressions:
    return concatenate(read_impressions(file, Indices()))


def with_field(number: int, column: int, text: str) -> list[list[str]]:
    rows = [list(row) for row in ROWS]
    rows[number][column] = text
    return rows


def test_text_is_read_as_it_stands(atomic) -> None:
    """RecBole drops the titles NA and null, and fails at one that begins with a quote."""
    news = read_news(atomic.folder / "tiny.item")
    assert [list(row) for row in zip(*news[:5], strict=True)] == item_rows(atomic)
    assert news.title[:3] == ['"Quoted" from the start', "NA", "null"]
    assert "\u2028" in news.title[3]
    assert news.body == [""] * 5


def item_rows(atomic) -> list[list[str]]:
    lines = (atomic.folder / "tiny.item").read_bytes().decode().split("\n")
    return [line.split("\t") for line in lines[1:-1]]


def test_line_ends_marks_and_further_columns_change_no_text(atomic) -> None:
    """Editors on other systems change these, and leave the text."""
    file = atomic.folder / "tiny.item"
    plain = read_news(file)
    lines = [f"{line}\textra" for line in file.read_bytes().decode().split("\n")[:-1]]
    file.write_bytes("\r\n".join(lines).encode("utf-8-sig"))  # and no end of the last line
    assert read_news(file) == plain


def test_impressions_come_back_field_by_field(empty) -> None:
    """Rows shifted by one would give each user the history of another."""
    found = read(empty.write_split("train", ROWS))
    seen = ["N1", "N2", "N4", "N5", "N8", "N9", "N7"]  # row by row, history first
    ids = {token: number for number, token in enumerate(seen, start=1)}
    for row, (name, _, _, history, candidates, _) in enumerate(ROWS):
        assert found.impression_id[row] == name
        assert found.candidates.row(row).tolist() == [ids[token] for token in candidates.split()]
        assert found.history.row(row).tolist() == [ids[token] for token in history.split()]
    assert found.user.tolist() == [1, 2, 1, 3, 4]
    assert found.timestamp.tolist() == [1573310962, 1573310999, -5, 0, 1573310962]
    assert found.labels.tolist() == [1, 0, 0, 1, -1, -1, 0, 1]
    assert found.timestamp.dtype == np.int64  # a float32 is 64 seconds off
    assert (found.user.dtype, found.labels.dtype) == (np.int32, np.int8)
    assert found.history.values.dtype == found.candidates.values.dtype == np.int32


def test_columns_of_the_page_and_the_visit_are_read_where_there_are_any(empty) -> None:
    """A page taken for another article, or an unknown reader for one who does not subscribe."""
    file = empty.write_split("train", ROWS)
    context = [("N2", "1", "s1", "1"), ("", "", "", ""), ("N99", "2", "s1", "0")]
    rows = [*zip(ROWS, [*context, *[("N1", "1", "s2", "0.0")] * 2], strict=True)]
    header = "\tcontext_article:token\tdevice:token\tsession:token\tread_time:float\n"
    text = file.read_text().split("\n")[0] + header
    file.write_text(text + "".join("\t".join([*row, *more]) + "\n" for row, more in rows))
    indices = Indices()
    found = concatenate(read_impressions(file, indices)).columns
    pages = indices.news.ids(["N2", "[PAD]", "N99", "N1", "N1"])
    assert found["context_article"].tolist() == pages.tolist()
    assert found["device"].tolist() == [1, 0, 2, 1, 1]
    assert found["session"].tolist() == [1, 0, 1, 2, 2]
    np.testing.assert_array_equal(found["read_time"], [1, np.nan, 0, 0, 0])
    assert np.isnan(found["subscriber"]).all()
    file.write_text(file.read_text().replace("\t0.0", "\tyes"))
    with pytest.raises(ValueError, match=r"line 5, column read_time.* got 'yes'"):
        read(file)
    assert not read(empty.write_split("valid", ROWS)).columns["device"].any()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_where_a_chunk_ends_changes_nothing(empty, size: int, monkeypatch) -> None:
    """MIND has more rows than one chunk: ids and line numbers must continue across chunks."""
    file = empty.write_split("train", ROWS)
    broken = empty.write_split("valid", with_field(4, 5, "1"))
    whole = read(file)
    monkeypatch.setattr(atomic_files, "ROWS_AT_ONCE", size)
    for before, after in zip(flat(whole), flat(read(file)), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    with pytest.raises(ValueError, match="line 6, column labels"):
        read(broken)


def flat(impressions: Impressions) -> list[np.ndarray]:
    parts = [part if isinstance(part, tuple) else (part,) for part in impressions[:6]]
    return [array for part in (*parts, impressions.columns.values()) for array in part]


def test_a_file_of_a_header_alone_has_no_rows(empty) -> None:
    """A validation day without impressions is a fact, not a crash in concatenate."""
    assert read(empty.write_split("valid", ())).rows == 0
    assert read_news(empty.write_items(())).item_id == []


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [
        (5, "1 0", r"column labels, expects one label for each of the 3 candidates .* got 2"),
        (5, "1 0 0 0", r"column labels, expects one label for each of the 3 candidates .* got 4"),
        (5, "1 2 0", r"column labels, expects labels 0 and 1, got '2'"),
        (5, "1 nan 0", r"column labels, expects labels 0 and 1, got 'nan'"),
        (5, "1  0", r"column labels, expects labels 0 and 1, got ''"),
        (5, "-1 0 0", r"column labels, expects labels 0 and 1, got '-1'"),
        (2, "", r"column timestamp, expects UTC seconds, got ''"),
        (2, "11/9/2019 9:00:00 AM", r"column timestamp, expects UTC seconds, got '11/9/2019 9"),
        (2, "nan", r"column timestamp, expects UTC seconds, got 'nan'"),
        (2, "1e300", r"column timestamp, expects UTC seconds, got '1e300'"),
        (1, "", r"column user_id, expects an id, got ''"),
        (3, "N1  N2", r"column history, expects ids separated by single spaces, got 'N1  N2'"),
        (4, "N1 N2 ", r"column candidates, expects ids separated by single spaces, got 'N1 N2 '"),
    ],
)
@pytest.mark.parametrize("row", [0, 4])
def test_a_wrong_field_is_named_by_line_and_column(
    empty, row: int, column: int, text: str, expected: str
) -> None:
    """Read as something else it would train a model on what nobody logged."""
    rows = with_field(row, column, text)
    if column == 5:
        rows[row][4] = "N1 N2 N3"
    file = empty.write_split("train", rows)
    with pytest.raises(ValueError, match=rf"tiny\.train\.inter, line {row + 2}, {expected}"):
        read(file)


@pytest.mark.parametrize("fields", [["3", "U1", "0", "N1", "N2"], [""], [*ROWS[0], "more"]])
def test_a_row_of_another_width_is_named(empty, fields: list[str]) -> None:
    """Padded silently, a row that lost its labels is taken for unlabelled and never trained on."""
    file = empty.write_split("train", [*ROWS[:2], fields, *ROWS[2:]])
    with pytest.raises(ValueError, match=rf"line 4, expects 6 .* columns, got {len(fields)}\."):
        read(file)


def test_another_header_is_refused_with_what_is_missing(empty) -> None:
    """RecBole's own data sets have one row for each click: they hold no impressions."""
    stock = empty.write_split("train", [("U1", "N1")], header="user_id:token\titem_id:token")
    with pytest.raises(ValueError, match=r"line 1, expects the columns .*missing: impression_id:t"):
        read(stock)
    with pytest.raises(ValueError, match=r"line 1, .*got \['item_id:token'\].*title:token_seq"):
        read_news(empty.write_items([("N1",)], header="item_id:token"))
    (empty.folder / "tiny.item").write_bytes(b"")
    with pytest.raises(ValueError, match="line 1, expects the columns"):
        read_news(empty.folder / "tiny.item")


@pytest.mark.parametrize("token", ["N1", "", "[PAD]"])
def test_an_id_that_names_two_things_is_refused(atomic, token: str) -> None:
    """The ids of all later articles would be shifted by one against their texts."""
    file = atomic.write_items([*item_rows(atomic), [token, "news", "world", "again", ""]])
    expected = f"line 7, column item_id, expects a unique id, got '{token}'"
    with pytest.raises(ValueError, match=re.escape(expected)):
        read_news(file)
