"""Tables of one's own: csv, tsv and parquet, with and without what was shown."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import pytest
from good_places import CLICKS, COLUMNS, GOOD, SHOWN, write_table
from good_places import TABLE_NEWS as NEWS
from plain_mind import read

from recbole_tinynews.convert import ConversionError, convert_news
from recbole_tinynews.convert.__main__ import main
from recbole_tinynews.data.atomic_files import read_news


def convert(train: Path | list[Path], output: Path, **more: Any) -> dict[str, Any]:
    given = {"format": "table", "columns": COLUMNS, "valid": 0.4, **more}
    return convert_news(train, "mine", output=output / "out", **given)


def inter(output: Path, *splits: str) -> list[list[str]]:
    return [
        row for split in splits for row in read(output / "out" / "mine" / f"mine.{split}.inter")
    ]


def test_clicks_become_impressions_with_the_history_before_them(tmp_path: Path) -> None:
    """A click of the same second must not be in it: it may be the one to predict."""
    report = convert(write_table(tmp_path / "clicks.csv", CLICKS), tmp_path)
    rows = inter(tmp_path, "train", "valid")
    assert [row[:4] for row in rows] == [
        ["1", "anna", "1709280000", ""],
        ["2", "ben", "1709280600", ""],
        ["3", "anna", "1709283600", "/a"],
        ["4", "anna", "1709283600", "/a"],
        ["5", "ben", "1709370000", "/b"],
        ["6", "carl", "1709373600", ""],
    ]
    assert report["sampled_candidates"]["impressions"] == 6
    items = {row[0]: row[3] for row in read(tmp_path / "out" / "mine" / "mine.item")}
    assert items == {"/a": "Harbour, closed", "/b": 'A "cup"', "/c": "Trams"}


def test_clicks_and_histories_of_a_log_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    """Many readers in no order, some in the same second: one may get the clicks of another."""
    rng = random.Random(0)
    rows = [
        (f"u{rng.randrange(20)}", str(1_700_000_000 + rng.randrange(400)), f"n{number % 300}", "t")
        for number in range(1_000)
    ]
    table = write_table(tmp_path / "clicks.csv", [("user", "time", "clicked", "title"), *rows])
    convert(table, tmp_path, columns={})
    written = inter(tmp_path, "train", "valid")
    assert {int(row[0]) for row in written} == {*range(1, 1_001)}
    in_order = sorted(rows, key=lambda row: row[1])
    for number, user, time, history, shown, labels in written:
        expected = in_order[int(number) - 1]
        clicked = shown.split()[labels.split().index("1")]
        assert (user, time, clicked) == expected[:3]
        before = [article for u, at, article, _ in in_order if u == user and at < time]
        assert history.split() == before


def test_the_same_seed_draws_the_same_candidates_and_another_one_others(tmp_path: Path) -> None:
    rows = [("user", "time", "clicked", "title")]
    rows += [(f"u{n % 50}", str(1_700_000_000 + n), f"n{n * 7 % 300}", "t") for n in range(2_000)]
    table, drawn = write_table(tmp_path / "clicks.csv", rows), []
    for seed in (1, 1, 2):
        convert(table, tmp_path, columns={}, seed=seed)
        drawn.append(inter(tmp_path, "train", "valid"))
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_a_later_file_continues_the_histories_and_may_have_no_new_article(tmp_path: Path) -> None:
    train = write_table(tmp_path / "a.csv", CLICKS[:4])
    test = write_table(tmp_path / "b.csv", (CLICKS[0], *CLICKS[5:]))
    convert(train, tmp_path, test=test)
    assert [row[3] for row in inter(tmp_path, "test")] == ["/b", ""]


def test_what_was_shown_is_taken_as_it_is(tmp_path: Path) -> None:
    table = write_table(tmp_path / "shown.csv", SHOWN)
    news = write_table(tmp_path / "news.tsv", NEWS, "\t")
    report = convert(table, tmp_path, columns={}, news=[news])
    assert inter(tmp_path, "train", "valid") == [
        ["i1", "anna", "1709283600", "", "a b c", "0 1 0"],
        ["i2", "anna", "1709283601", "b", "a c", "0 0"],
        ["i3", "anna", "1709370000", "b", "c a", "1 1"],
    ]
    assert read(tmp_path / "out" / "mine" / "mine.item") == [
        ["a", "x", "", "Harbour closed", "", "Long."],
        ["b", "y", "", "Cup", "", ""],
        ["c", "", "", "Trams", "", "Longer."],
    ]
    assert "sampled_candidates" not in report


def test_a_table_without_clicks_is_a_test_set_alone(tmp_path: Path) -> None:
    news = write_table(tmp_path / "news.csv", NEWS)
    train = write_table(tmp_path / "shown.csv", SHOWN)
    test = write_table(tmp_path / "test.csv", [[row[0], row[1], *row[3:]] for row in SHOWN])
    report = convert(train, tmp_path, columns={}, news=[news], test=test)
    assert report["impressions"]["test"]["unlabelled"] == 3
    assert [row[3] for row in inter(tmp_path, "test")] == ["", "b", "b"]
    with pytest.raises(ConversionError, match=r"a column clicked \(only --test"):
        convert(test, tmp_path, columns={}, news=[news])


def test_parquet_and_gzip_are_read_as_csv_is(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    news = write_table(tmp_path / "news.csv", NEWS)
    table = write_table(tmp_path / "shown.csv", SHOWN)
    convert(table, tmp_path, columns={}, news=[news])
    expected = inter(tmp_path, "train", "valid")
    packed = tmp_path / "shown.csv.gz"
    packed.write_bytes(gzip.compress(table.read_bytes()))
    convert(packed, tmp_path, columns={}, news=[news])
    assert inter(tmp_path, "train", "valid") == expected

    times = pa.array([int(row[1]) for row in SHOWN[1:]], pa.timestamp("s"))
    lists = {name: [row[place].split() for row in SHOWN[1:]] for place, name in
             ((2, "clicked"), (3, "shown"))}  # fmt: skip
    texts = {"user": [row[0] for row in SHOWN[1:]], "impression": [row[4] for row in SHOWN[1:]]}
    parquet.write_table(pa.table({"time": times, **lists, **texts}), tmp_path / "shown.parquet")
    convert(tmp_path / "shown.parquet", tmp_path, columns={}, news=[news])
    assert inter(tmp_path, "train", "valid") == expected


def test_the_article_with_the_id_0_is_in_a_history(tmp_path: Path) -> None:
    """0 is an id, and nothing in a cell is not."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"user": [1] * 3, "time": [10, 20, 30], "shown": [[0, 2]] * 3}
    table = pa.table({**columns, "clicked": [[2], None, [0]], "history": [0, None, 2]})
    parquet.write_table(table, tmp_path / "shown.parquet")
    news = write_table(tmp_path / "news.csv", [("id", "title"), ("0", "Cup"), ("2", "Trams")])
    convert(tmp_path / "shown.parquet", tmp_path, columns={}, news=[news])
    rows = inter(tmp_path, "train", "valid")
    assert [row[3] for row in rows] == ["0", "", "2"]
    assert [row[5] for row in rows] == ["0 1", "0 0", "1 0"]


@pytest.mark.parametrize("rows", ["clicks", "candidates"])
def test_columns_of_the_context_are_kept_and_nothing_known_is_an_empty_field(
    tmp_path: Path, rows: str
) -> None:
    """A missing device that became the word None would be a device."""
    clicked = "article" if rows == "candidates" else "clicked"
    table = [
        ("user", "time", clicked, "title", "where", "device", "subscriber", "read_time"),
        ("anna", "10", "a", "A", "b", " big  phone ", "true", "61.3"),
        ("anna", "20", "b", "B", "", "", "", ""),
        ("anna", "30", "a", "A", "c", "tv", "0", "7.0"),
    ]
    if rows == "candidates":
        table = [(*row, mark) for row, mark in zip(table, ("clicked", *"111"), strict=True)]
    given = {"columns": {"context_article": "where"}, "rows": rows}
    convert(write_table(tmp_path / "t.csv", table), tmp_path, **given)
    header = (tmp_path / "out" / "mine" / "mine.train.inter").read_text().split("\n")[0]
    names = ["context_article:token", "device:token", "subscriber:float", "read_time:float"]
    assert header.split("\t")[6:] == names
    assert [row[6:] for row in inter(tmp_path, "train", "valid")] == [
        ["b", "big phone", "1", "61.3"],
        ["", "", "", ""],
        ["c", "tv", "0", "7"],
    ]
    for column, cell in ((4, "b c"), (6, "2"), (7, "inf")):
        bad = [*table[:3], (*table[3][:column], cell, *table[3][column + 1 :])]
        with pytest.raises(ConversionError, match=f":4: column {table[0][column]}: expected"):
            convert(write_table(tmp_path / "t.csv", bad), tmp_path, **given)


def test_a_title_that_was_edited_is_counted_and_the_first_one_kept(tmp_path: Path) -> None:
    rows = [*CLICKS, ("dora", "2024-03-02T11:00:00", "/a", "Harbour open again", "x")]
    report = convert(write_table(tmp_path / "clicks.csv", rows), tmp_path)
    assert report["articles_whose_text_changed"] == {"ids": 1, "examples": ["/a"]}
    assert read(tmp_path / "out" / "mine" / "mine.item")[0][3] == "Harbour, closed"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"columns": {"user": "name"}}, "expected a column name and a column time, found reader"),
        ({"columns": {**COLUMNS, "headline": "x"}}, "expected roles of user, time, .*got headline"),
        ({"columns": {"user": "reader", "time": "ts"}}, "a column of clicked or shown ids"),
        ({"columns": {**COLUMNS, "title": "title"}}, "expected a column title"),
        ({"columns": {k: v for k, v in COLUMNS.items() if k != "title"}}, "or a column of titles"),
        ({"columns": {**COLUMNS, "shown": "section"}}, "expected --news=FILE"),
        ({"sampled": 0}, "--sampled=0: expected at least 1"),
        ({"format": "csv"}, "--format=csv: expected one of mind, ebnerd"),
        ({"format": "mind"}, "--columns expects --format=table, got --format=mind"),
        ({"news": ["none.csv"]}, "--news=none.csv: expected a file of articles, found nothing"),
    ],
)
def test_a_mistake_in_the_settings_is_told_before_anything_is_read(
    tmp_path: Path, settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConversionError, match=expected):
        convert(write_table(tmp_path / "clicks.csv", CLICKS), tmp_path, **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["clicks.txt", "none.csv", "."])
def test_what_is_no_table_is_told(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / "clicks.txt", CLICKS)
    with pytest.raises(ConversionError, match=r"--train=.*: expected a .csv, .tsv or .parquet"):
        convert(tmp_path / name, tmp_path)


@pytest.mark.parametrize("content", [b"", b"a,a\n", b'"a\n', b"\x1f\x8b\x08broken"])
def test_a_table_without_a_usable_header_is_told_by_name(tmp_path: Path, content: bytes) -> None:
    table = tmp_path / "clicks.csv"
    table.write_bytes(content)
    with pytest.raises(ConversionError, match=r"--train=.*clicks\.csv"):
        convert(table, tmp_path)


def test_the_command_names_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path / "clicks.csv", CLICKS)
    flags = ["--format=table", f"--train={table}", "--dataset=mine", f"--output={tmp_path}"]
    columns = ",".join(f"{role}={name}" for role, name in COLUMNS.items())
    assert main([*flags, f"--columns={columns}", "--rows=clicks"]) == 0
    said = capsys.readouterr().out
    assert f"rows: {table} is a table of clicks: --rows=clicks" in said
    assert "6 impressions with sampled candidates, not those that" in said
    for wrong in ("user", "user=a,user=b", "=a", "user="):
        with pytest.raises(SystemExit):
            main([*flags, f"--columns={wrong}"])


def test_a_file_of_bodies_beside_bodies_is_refused(tmp_path: Path) -> None:
    bodies = tmp_path / "bodies.tsv.gz"
    bodies.write_bytes(gzip.compress(b"a\tt\tbody\n"))
    good = GOOD["shown"](tmp_path / "place")
    with pytest.raises(ConversionError, match=r"--format=table have them\. Leave"):
        convert_news(good.train, "x", output=tmp_path, bodies=bodies, valid=0.5, **good.given)


NAMES = "item_id:token category:token subcategory:token title:token_seq abstract:token_seq"
TABLE = "user,time,clicked,title,{}\nu,10,a,A,1970-01-02\nu,20,b,B,\nu,30,a,A,{}\n"


def items(place: Path, format: str, output: Path, **more: object) -> tuple[str, list[list[str]]]:
    """The header and the last column of each row of the ``.item``."""
    convert_news(place, "x", format=format, output=output, valid=0.4, **more)
    path = output / "x" / "x.item"
    return path.read_text().split("\n")[0], [[row[0], row[-1]] for row in read(path)]


def test_a_table_has_it_in_a_column_that_may_be_named(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(TABLE.format("published", ""))
    expected = f"{NAMES} published:float".replace(" ", "\t"), [["a", "86400"], ["b", ""]]
    assert items(table, "table", tmp_path) == expected
    table.write_text(TABLE.format("born", "86400.5"))
    assert items(table, "table", tmp_path, columns={"published": "born"}) == expected
    table.write_text(TABLE.format("born", ""))
    assert items(table, "table", tmp_path)[0] == NAMES.replace(" ", "\t")  # as without the role
    for bad, why in (("soon", "seconds since 1970"), ("1582934400000", "milliseconds by 1000")):
        table.write_text(f"user,time,clicked,title,published\nu,10,a,A,{bad}\n")
        with pytest.raises(ConversionError, match=f":2: column published: expected .*{why}"):
            items(table, "table", tmp_path)


def test_ebnerd_has_it_beside_the_body_and_no_other_column_is_read_differently(
    tmp_path: Path,
) -> None:
    pytest.importorskip("pyarrow")
    from ebnerd_folder import NEWS, at, write_ebnerd

    news = [{**NEWS[0], "published_time": at("2023-05-01 00:00:00")}, *NEWS[1:]]
    place = write_ebnerd(tmp_path / "eb", news=news)
    header, rows = items(place, "ebnerd", tmp_path)
    assert header.endswith("\tbody:token_seq\tpublished:float")
    assert rows[:2] == [["11", "1682899200"], ["12", ""]]
    with_times = read_news(tmp_path / "x" / "x.item")
    header, _ = items(write_ebnerd(tmp_path / "eb"), "ebnerd", tmp_path)
    assert header.endswith("\tbody:token_seq")
    without = read_news(tmp_path / "x" / "x.item")
    assert with_times.published == ["1682899200", "", "", ""]
    assert with_times._replace(published=without.published) == without


def test_two_times_of_one_article_are_a_contradiction(tmp_path: Path) -> None:
    """As two titles are: the age of an article would depend on the order of rows."""
    news, table = tmp_path / "news.csv", tmp_path / "t.csv"
    news.write_text("id,title,published\na,A,10\na,A,11\n")
    table.write_text("user,time,clicked\nu,1,a\nu,2,a\n")
    with pytest.raises(ConversionError, match=r"news\.csv:3: column published: expected the pub"):
        items(table, "table", tmp_path, news=[news])
