"""A bad row of any file of any format is named by file, line and column, or dropped alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ebnerd_folder import HISTORIES, IMPRESSIONS, at
from ebnerd_folder import NEWS as ARTICLES
from good_places import GOOD, ebnerd
from mind_folder import NEWS

from recbole_tinynews.convert import ConversionError, convert_news

LINE = "7\tU1\t11/15/2019 1:00:00 AM\tN1\tN2-0 N3-1"
PLACE = LINE.index("N3") + 2  # the byte after N, counted from 1
# A number repeats the id, user, ... of the good row; of parquet, a change of it.
ROW = {**IMPRESSIONS[1], "impression_id": 1}
HISTORY = {**HISTORIES[1], "user_id": 23}
ARTICLE = {**ARTICLES[2], "article_id": 15}
NO_ID = "expected an id, got nothing"

BAD: dict[tuple[str, str], list[tuple[Any, ...]]] = {
    ("mind", "behaviors"): [
        (LINE.replace("\tN1\t", "\t"), "expected 5 tab-separated columns", "got 4"),
        (LINE.replace("11/15", "2/30"), "column 3: expected a time", "'2/30/2019 1:00:00 AM' (day"),
        (LINE.replace("N2-0", "N2"), "column 5", "-0 or -1 after candidate 1"),
        (LINE.replace("-0", "").replace("-1", ""), "column 5", "each candidate", "got 'N2 N3'"),
        (LINE.replace("\tN1\t", "\tN1  N2\t"), "column 4", "at place 2"),
        (LINE.replace("\tN1\t", "\tN\xa01\t"), "column 4", "'N\\xa01'"),
        (LINE.removeprefix("7"), "column 1: expected an id", "got ''"),
        (LINE.replace("U1", ""), "column 2: expected an id", "got ''"),
        (LINE.replace("U1", "U 1"), "column 2", "without white space"),
        (LINE.replace("7", "1", 1), "column 1", "of line 1 again"),
        (LINE.replace("N3", "N\udcff"), "expected UTF-8", f"at byte {PLACE} of the line"),
        (LINE.replace("N3", "N\0"), f"got a NUL byte at byte {PLACE}"),
        # RecBole's padding would get index 0, which stands for every empty history slot
        (LINE.replace("U1", "[PAD]"), "column 2", "padding"),
        (LINE.replace("\tN1\t", "\tN2 [PAD]\t"), "column 4", "padding"),
        (LINE.replace("N2-0", "[PAD]-0"), "column 5", "padding"),
    ],
    ("mind", "news"): [
        ("N4\ta\tb\tt\t\t\t", "expected 8 tab-separated columns", "got 7"),
        ("\ta\tb\tt\t\t\t\t", "column 1: expected an id", "got ''"),
        ("[PAD]\ta\tb\tt\t\t\t\t", "column 1", "padding"),
        ("N4\ta\tb\t\udcff\t\t\t\t", "expected UTF-8", "at byte 8 of the line"),
        (NEWS[0].replace("A title", "B"), "column 4", "news.tsv:1, 'A title', got 'B'"),
        (NEWS[0].replace("sports", "B"), "column 2", "news.tsv:1, 'sports', got 'B'"),
    ],
    ("mind", "bodies"): [
        ("N1\tbody", "expected 3 tab-separated columns", "got 2"),
        ("\tt\tbody", "column 1: expected an id", "got ''"),
        ("N2\tt\tother", "column 3", "has in line 1, got 'other'"),
    ],
    ("clicks", "clicks"): [
        ("dora,2024-03-02T11:00:00,/a", "expected 5 columns (reader, ts, url"),
        (",2024-03-02T11:00:00,/a,t,x", "column reader: expected an id, got ''"),
        ("dora,2024-03-02T11:00:00,/a b,t,x", "column url: expected an id"),
        ("dora,,/a,t,x", "column ts: expected seconds since 1970 or a time such as"),
        ("dora,1709283600000,/a,t,x", "Divide milliseconds by 1000"),
        ("dora,1709283600,[PAD],t,x", "column url: expected an id other than"),
        ("dora,1709283600,/a,t\udcff,x", "column headline: expected UTF-8, got other"),
        ("dora,1709283600,/a,t\0,x", "column headline: expected UTF-8, got a NUL byte"),
        ('dora,1709283600,/a,"t"t,x', "expected cells, quoted where needed"),
        ('dora,1709283600,/a,"t,x', "unexpected end of data"),
        ("", "expected 5 columns"),
    ],
    ("shown", "shown"): [
        ("anna,1709283600,d,a b,i4", "column clicked: expected clicks on what was shown"),
        ("anna,1709283600,,,i4", "column shown: expected at least one candidate"),
        ("anna,1709283600,a,a  b,i4", "column shown: expected ids separated by single"),
        ("anna,1709283600,a,a b,i1", "column impression: expected a unique id"),
    ],
    ("ebnerd", "behaviors"): [
        ({**ROW, "article_ids_inview": []}, "article_ids_inview: expected at least one"),
        ({**ROW, "article_ids_inview": [11, None]}, f"article_ids_inview: {NO_ID}"),
        ({**ROW, "article_ids_clicked": None}, "article_ids_clicked: expected ids, got"),
        ({**ROW, "article_ids_clicked": [14]}, "got '14', which was not"),
        ({**ROW, "impression_time": None}, "impression_time: expected seconds"),
        ({**ROW, "impression_time": at("9999-01-01 00:00:00")}, "milliseconds"),
        ({**ROW, "user_id": None}, f"user_id: {NO_ID}"),
        ({**ROW, "impression_id": None}, f"impression_id: {NO_ID}"),
        ({**ROW, "impression_id": 48401}, "impression_id: expected a unique id"),
    ],
    ("ebnerd", "history"): [
        ({**HISTORY, "user_id": None}, f"user_id: {NO_ID}"),
        ({**HISTORY, "user_id": 22}, "user_id: expected a user once, got '22' again"),
        ({**HISTORY, "article_id_fixed": None}, "article_id_fixed: expected ids"),
        ({**HISTORY, "article_id_fixed": [11, None, 13]}, NO_ID),
        ({**HISTORY, "impression_time_fixed": [None] * 3}, "for each of 3 clicks, got 0"),
    ],
    ("ebnerd", "articles"): [
        ({**ARTICLE, "article_id": None}, f"article_id: {NO_ID}"),
        ({**ARTICLE, "title": "a\0b"}, "title: expected text, got a NUL byte"),
        ({**ARTICLES[0], "title": "x"}, "column title: expected the title of 11"),
        ({**ARTICLES[0], "body": "x"}, "column body: expected the body that 11 has"),
    ],
}


@pytest.mark.parametrize(
    ("format", "file", "line", "parts"),
    [
        pytest.param(*place, line, parts, id=f"{'-'.join(place)}-{number}")
        for place, rows in BAD.items()
        for number, (line, *parts) in enumerate(rows)
    ],
)
def test_a_bad_row_is_named_and_dropped_alone(
    tmp_path: Path, format: str, file: str, line: Any, parts: list[str]
) -> None:
    place, output = tmp_path / "place", tmp_path / "out"
    place.mkdir()
    good = GOOD[format](place)
    given = {"format": format, "valid": 0.4, "output": output, **good.given}

    def counts(**more: Any) -> tuple[dict[str, Any], list[Any]]:
        report = convert_news(good.train, "x", **given, **more)
        return report, [report["impressions"], report["news"]["rows"], report["items"]]

    _, expected = counts()
    shutil.rmtree(output)
    path = good.files[file]
    if isinstance(line, dict):
        import pyarrow.parquet as pq

        number = pq.read_metadata(path).num_rows + 1
        ebnerd(place, **{file: line})
    else:
        content = path.read_bytes()
        number = content.count(b"\n") + 1
        path.write_bytes(content + line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(ConversionError) as caught:
        counts()
    assert str(caught.value).startswith(f"{path}:{number}: ")
    assert all(part in str(caught.value) for part in parts)
    assert not output.exists()

    report, kept = counts(on_error="skip")
    (kind,) = report["skipped_lines"]["kinds"].values()
    assert kind["count"] == report["skipped_lines"]["total"] == 1
    assert kind["examples"] == [str(caught.value)]
    assert kept == expected


def test_of_many_bad_lines_the_first_are_listed_and_none_moves_the_last_day(tmp_path: Path) -> None:
    """One bad line of the year 2099 would leave nothing else for validation."""
    good = GOOD["mind"](tmp_path / "mind")
    with good.files["behaviors"].open("a") as file:
        file.write("1\tU1\t1/1/2099 1:00:00 AM\tN1\tN2-1\n" * 50)  # a repeated id
    report = convert_news(good.train, "x", output=tmp_path / "out", on_error="skip")
    (kind,) = report["skipped_lines"]["kinds"].values()
    assert (kind["count"], len(kind["examples"])) == (50, 5)
    assert report["impressions"]["valid"]["impressions"] == 2
