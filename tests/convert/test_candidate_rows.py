"""Logs with a row for each candidate: recognised, grouped, or refused with both readings."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from good_places import write_table
from plain_mind import read

from recbole_tinynews.convert import ConversionError, convert_news

NEWS = (("id", "title"), ("a", "Harbour closed"), ("b", "Cup"), ("c", "Trams"))
# two impressions of anna, whose rows are mixed with those of ben; c is shown twice in i3
LOG = (
    ("impression", "user", "time", "article", "clicked"),
    ("i1", "anna", "1709283600", "a", "0"),
    ("i1", "anna", "1709283600", "b", "1"),
    ("i2", "ben", "1709283660", "c", "0"),
    ("i1", "anna", "1709283600", "c", "0"),
    ("i2", "ben", "1709283660", "a", "0"),
    ("i3", "anna", "1709370000", "c", "1"),
    ("i3", "anna", "1709370000", "a", "1"),
    ("i3", "anna", "1709370000", "c", "0"),
)
IMPRESSIONS = [
    ["i1", "anna", "1709283600", "", "a b c", "0 1 0"],
    ["i2", "ben", "1709283660", "", "c a", "0 0"],
    ["i3", "anna", "1709370000", "b", "c a c", "1 1 0"],
]


def without(rows: Sequence[Sequence[str]], *names: str) -> list[list[str]]:
    kept = [place for place, name in enumerate(rows[0]) if name not in names]
    return [[row[place] for place in kept] for row in rows]


def renamed(rows: Sequence[Sequence[str]], **names: str) -> list[Sequence[str]]:
    return [[names.get(name, name) for name in rows[0]], *rows[1:]]


def cells(rows: Sequence[Sequence[str]], column: str, *values: str) -> list[Sequence[str]]:
    """The rows with the cells of one column replaced, again from the first where they end."""
    place, given = rows[0].index(column), itertools.cycle(values)
    return [rows[0], *([*row[:place], next(given), *row[place + 1 :]] for row in rows[1:])]


def convert(folder: Path, log: Sequence[Sequence[str]], **more: Any) -> dict[str, Any]:
    table = write_table(folder / "log.csv", log)
    given = {"format": "table", "valid": 0.4, "news": [write_table(folder / "news.csv", NEWS)]}
    return convert_news(table, "mine", output=folder / "out", **{**given, **more})


def inter(folder: Path) -> list[list[str]]:
    files = [folder / "out" / "mine" / f"mine.{split}.inter" for split in ("train", "valid")]
    return [row for file in files for row in read(file)]


@pytest.mark.parametrize(
    ("rows", "columns", "article"),
    [
        (LOG, {}, "article"),
        (cells(LOG, "clicked", *(["False", "True"][int(r[4])] for r in LOG[1:])), {}, "article"),
        (cells(LOG, "clicked", *(["no", "Yes"][int(r[4])] for r in LOG[1:])), {}, "article"),
        (renamed(LOG, article="url", user="reader"), {"user": "reader", "article": "url"}, "url"),
        (renamed(LOG, article="shown"), {}, "shown"),
    ],
    ids=["0 and 1", "true and false", "yes and no", "named", "shown"],
)  # fmt: skip
def test_a_row_for_each_candidate_is_not_read_as_a_click(
    tmp_path: Path, rows: Sequence[Sequence[str]], columns: dict[str, str], article: str
) -> None:
    """Every row became a click, or the articles were named 0 and 1."""
    report = convert(tmp_path, rows, columns=columns)
    assert inter(tmp_path) == IMPRESSIONS
    [table] = report["tables"].values()
    reason = f"clicked is 0 or 1 and {article} is one id"
    assert table == {"rows": "candidates", "recognised_by": reason}


def test_without_impression_ids_one_reader_and_time_are_an_impression(tmp_path: Path) -> None:
    first, bens = LOG[1][2], LOG[3][2]
    together = [[first if cell == bens else cell for cell in row] for row in LOG]  # both at once
    convert(tmp_path, without(together, "impression"))
    expected = [[first if cell == bens else cell for cell in row[1:]] for row in IMPRESSIONS]
    assert [row[1:] for row in inter(tmp_path)] == expected


def test_titles_and_a_history_in_the_rows_of_candidates_are_kept(tmp_path: Path) -> None:
    titles = dict(NEWS)
    rows = [[*LOG[0], "title", "history"], *([*row, titles[row[3]], "c a"] for row in LOG[1:])]
    convert(tmp_path, rows, news=())
    assert inter(tmp_path) == [[*row[:3], "c a", *row[4:]] for row in IMPRESSIONS]
    items = {row[0]: row[3] for row in read(tmp_path / "out" / "mine" / "mine.item")}
    assert items == dict(NEWS[1:])
    with pytest.raises(ConversionError, match="one history in all rows of an impression"):
        convert(tmp_path, [*rows[:-1], [*rows[-1][:-1], "c"]], news=())


def test_candidates_without_labels_are_a_test_set_once_the_rows_are_stated(tmp_path: Path) -> None:
    unlabelled = without(LOG, "clicked")
    test = write_table(tmp_path / "test.csv", unlabelled)
    with pytest.raises(ConversionError, match=r"--test=.*was each shown.*pass --rows=candidates"):
        convert(tmp_path, LOG, test=test)
    report = convert(tmp_path, LOG, test=test, rows="candidates")
    assert report["impressions"]["test"]["unlabelled"] == 3
    with pytest.raises(ConversionError, match=r"expected a column clicked \(only --test may"):
        convert(tmp_path, unlabelled, rows="candidates")


@pytest.mark.parametrize(
    ("rows", "columns", "readings"),
    [
        (
            without(LOG, "article"),
            {},
            [
                "as clicks: anna clicked '0' at 1709283600; anna clicked '1'",
                "as candidates: anna was shown an article and did not click it at",
                "Pass --rows=clicks if the first is right, --columns=article=NAME if the second.",
            ],
        ),
        (
            renamed(LOG, clicked="Click", article="url"),
            {"clicked": "url"},
            [
                "as clicks: anna clicked 'a' at 1709283600; anna clicked 'b'",
                "anna was shown a and did not click it at 1709283600; anna was shown b and clicked",
                "--columns=article=url,clicked=Click if the second",
            ],
        ),
        *((cells(LOG, "clicked", *marks), {},
           ["as clicks: anna clicked", f"with mark {odd!r}", "--rows=candidates if the second"])
          for odd, marks in (("2", ["0", "1", "1", "2"]), ("up", ["up", "down"] * 4))),
        (
            cells(renamed(without(LOG, "impression"), article="shown"), "shown", "0", "1", "0", "0",
                  "0", "1", "1", "0"),
            {},
            ["as impressions: anna was shown 0 alone and clicked 0", "shown 1 and clicked it at"],
        ),
    ],
    ids=["no article", "click", "some marks", "two words", "ids 0 and 1"],
)  # fmt: skip
def test_rows_with_two_meanings_are_refused_with_both(
    tmp_path: Path, rows: list[list[str]], columns: dict[str, str], readings: list[str]
) -> None:
    with pytest.raises(ConversionError) as error:
        convert(tmp_path, rows, columns=columns)
    for reading in readings:
        assert reading in str(error.value)
    assert not (tmp_path / "out").exists()


def test_stated_rows_are_read_as_stated(tmp_path: Path) -> None:
    clicks = [["user", "time", "clicked"], ["u", "10", "0"], ["u", "20", "1"], ["v", "30", "1"]]
    news = write_table(tmp_path / "numbers.csv", [("id", "title"), ("0", "Zero"), ("1", "One")])
    report = convert(tmp_path, clicks, rows="clicks", news=[news])
    assert [row[3] for row in inter(tmp_path)] == ["", "0", ""]
    [table] = report["tables"].values()
    assert table == {"rows": "clicks", "recognised_by": "--rows=clicks"}
    for rows, wanted in (("impressions", "shown"), ("candidates", "article or shown")):
        with pytest.raises(ConversionError, match=f"expects a column {wanted}, found user, time"):
            convert(tmp_path, clicks, rows=rows, news=[news])
    with pytest.raises(ConversionError, match="--rows=x: expected one of clicks, impressions, ca"):
        convert(tmp_path, clicks, rows="x")


def test_a_click_log_with_a_flag_of_the_reader_is_still_one(tmp_path: Path) -> None:
    """A subscription is 0 or 1 too."""
    rows = [["user", "time", "clicked", "subscriber"]]
    rows += [[f"u{n % 3}", str(n), "abc"[n % 3], str(n % 2)] for n in range(9)]
    report = convert(tmp_path, rows)
    assert [table["rows"] for table in report["tables"].values()] == ["clicks"]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("clicked", "", "column clicked: expected 0 or 1 .*, got ''"),
        ("clicked", "2", "column clicked: expected 0 or 1 .*, got '2'"),
        ("article", "a b", "column article: expected an id without white space, got 'a b'"),
        ("user", "eve", "column user: expected one user in all rows of an impression, got 'eve'"),
        ("time", "5", "column time: expected one time in all rows of an impression, got '5'"),
    ],
)
def test_a_bad_candidate_is_named_and_alone_dropped(
    tmp_path: Path, column: str, value: str, expected: str
) -> None:
    """Far down in the file: the first rows have been looked at before."""
    rows = [LOG[0]]
    for number in range(500):
        rows += [(f"{number}", "u", f"{number}", article, "0") for article in "abc"]
    place = LOG[0].index(column)
    spoilt = [*rows[-1][:place], value, *rows[-1][place + 1 :]]
    with pytest.raises(ConversionError, match=rf"log\.csv:1501: {expected}"):
        convert(tmp_path, [*rows[:-1], spoilt])
    report = convert(tmp_path, [*rows[:-1], spoilt], on_error="skip")
    assert report["skipped_lines"]["total"] == 1
    parts = report["impressions"].values()
    assert sum(part["candidates"] for part in parts) == 1_499
    assert sum(part["impressions"] for part in parts) == 500
