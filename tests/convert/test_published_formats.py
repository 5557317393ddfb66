"""Adressa, xMIND and PENS, in the published layouts, with invented rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from mind_folder import WriteMind
from plain_mind import read

from recbole_tinynews.convert import ConversionError, convert_news
from recbole_tinynews.convert.report import readable

EVENTS = (
    {"eventId": 1, "url": "http://paper.example", "time": 1483225200, "userId": "cx:a:b"},
    {"eventId": 2, "id": "a1", "title": "Brann i byen", "time": 1483225201, "userId": "cx:a:b"}
    | {
        "profile": [
            {"item": "article", "groups": [{"group": "pageclass", "weight": 1.0}]},
            {"item": "nyheter", "groups": [{"group": "category"}, {"group": "taxonomy"}]},
            {"item": "nyheter/trondheim", "groups": [{"group": "taxonomy"}]},
        ]
    },
    {"eventId": 3, "id": "b2", "title": "Seier", "time": 1483225202, "userId": "cx:c"}
    | {"category1": "sport|fotball|menn"},
    {"eventId": 4, "id": "p9", "title": "Sport", "time": 1483225203, "userId": "cx:c"}
    | {"profile": [{"item": "section", "groups": [{"group": "pageclass"}]}]},
    {"eventId": 5, "id": "b2", "title": "Seier!", "time": 1483300000, "userId": "cx:a:b"},
    {"eventId": 6, "id": "c3", "time": 1483311601, "userId": "cx:c", "profile": "broken"},
)


def write_events(path: Path, *lines: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_bytes("".join(f"{line}\n" for line in texts).encode("utf-8", "surrogateescape"))
    return path


def convert(format: str, train: Path, output: Path, **more: Any) -> dict[str, Any]:
    return convert_news(train, "x", format=format, output=output / "out", **{"valid": 0.5, **more})


def inter(output: Path, *splits: str) -> list[list[str]]:
    return [row for split in splits for row in read(output / "out" / "x" / f"x.{split}.inter")]


def items(output: Path) -> list[list[str]]:
    return read(output / "out" / "x" / "x.item")


def test_events_of_a_week_become_impressions(tmp_path: Path) -> None:
    write_events(tmp_path / "week" / "20170102", *EVENTS[4:])
    write_events(tmp_path / "week" / "20170101", *EVENTS[:4])
    write_events(tmp_path / "week" / ".hidden", "no event")
    report = convert("adressa", tmp_path / "week", tmp_path)
    assert [row[:4] for row in inter(tmp_path, "train", "valid")] == [
        ["1", "cx:a:b", "1483225201", ""],
        ["2", "cx:c", "1483225202", ""],
        ["3", "cx:a:b", "1483300000", "a1"],
        ["4", "cx:c", "1483311601", "b2"],
    ]
    assert items(tmp_path) == [
        ["a1", "nyheter", "trondheim", "Brann i byen", ""],
        ["b2", "sport", "fotball", "Seier", ""],
        ["c3", "", "", "", ""],
    ]
    assert report["adressa"]["events_without_article"] == 2
    assert report["articles_whose_text_changed"]["examples"] == ["b2"]
    assert report["sampled_candidates"]["impressions"] == 4


def test_days_can_be_given_as_files(tmp_path: Path) -> None:
    days = [write_events(tmp_path / f"day{n}", *EVENTS[n : n + 3]) for n in (0, 3)]
    convert("adressa", days[0], tmp_path, test=days[1])
    assert [row[3] for row in inter(tmp_path, "test")] == ["a1", "b2"]


BAD_EVENTS = {
    "no JSON": ('{"id": "a1"', "expected a JSON object, got"),
    "no object": ("[1]", "expected a JSON object, got '[1]'"),
    "an empty line": ("", "expected a JSON object, got ''"),
    "nested too deep": ("[" * 200_000, "expected a JSON object, got"),
    "no user": ('{"id": "a1", "time": 1483225201}', "column userId: expected an id, got nothing"),
    "no time": ('{"id": "a1", "userId": "u"}', "column time: expected seconds since 1970"),
    "no finite time": ('{"id": "a", "userId": "u", "time": Infinity}', "column time: expected sec"),
    "a time of 400 digits": (
        f'{{"id": "a", "userId": "u", "time": {10**400}}}',
        "column time: expected seconds since 1970",
    ),
    "an id that is a list": ('{"id": ["a"], "userId": "u", "time": 1}', "column id: expected an"),
    "half a character": (
        '{"id": "a1", "title": "\\ud800", "userId": "u", "time": 1}',
        "column title: expected text, got half of a character",
    ),
    "a NUL byte": (
        '{"id": "a1", "title": "\\u0000", "userId": "u", "time": 1}',
        "column title: expected text, got a NUL byte",
    ),
    "not UTF-8": ('{"id": "\udcff"}', "expected UTF-8"),
}


@pytest.mark.parametrize(("line", "expected"), BAD_EVENTS.values(), ids=BAD_EVENTS)
def test_a_bad_event_is_named_by_file_line_and_column_and_dropped_alone(
    tmp_path: Path, line: str, expected: str
) -> None:
    day = write_events(tmp_path / "day", *EVENTS, line)
    with pytest.raises(ConversionError) as caught:
        convert("adressa", day, tmp_path)
    assert str(caught.value).startswith(f"{day}:7: ")
    assert expected in str(caught.value)
    assert not (tmp_path / "out").exists()
    report = convert("adressa", day, tmp_path, on_error="skip")
    assert report["skipped_lines"]["total"] == 1
    assert len(inter(tmp_path, "train", "valid")) == 4


def test_a_place_without_events_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place, found in ((tmp_path / "empty", "an empty folder"), (tmp_path / "none", "nothing")):
        with pytest.raises(ConversionError, match=f"--train=.*found {found}"):
            convert("adressa", place, tmp_path)


ROMANIAN = ("nid\ttitle\tabstract", "N1\tUn titlu\tUn rezumat", "N2\tAltul\t")


def write_tsv(path: Path, *rows: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    text = "".join(f"{row}\n" for row in rows)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


@pytest.mark.parametrize("header", [True, False])
def test_xmind_is_mind_with_other_titles_and_abstracts(
    write_mind: WriteMind, tmp_path: Path, header: bool
) -> None:
    news = write_tsv(tmp_path / "ron" / "news.tsv", *ROMANIAN[not header :])
    again = write_tsv(tmp_path / "ron-dev.tsv", "N2\tAltfel\t")
    train = write_mind()
    report = convert("xmind", train, tmp_path, news=[news.parent, again])
    assert items(tmp_path) == [
        ["N1", "sports", "golf", "Un titlu", "Un rezumat"],
        ["N2", "news", "", "Altul", ""],
        ["N3", "null", "NA", "NA", "nan"],
    ]
    assert report["xmind"] == {
        "translations": 2,
        "articles_without_translation": 1,
        "translated_differently_again": 1,
    }
    written = inter(tmp_path, "train", "valid")
    convert("mind", train, tmp_path)
    assert inter(tmp_path, "train", "valid") == written


def test_a_translation_of_other_news_is_told_where_the_command_ends(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    """Another file's ids fit no article, and the data set would be English without a word."""
    news = write_tsv(tmp_path / "ron.tsv", ROMANIAN[0], "M1\tUn titlu\t")
    report = convert("xmind", write_mind(), tmp_path, news=[news])
    assert " note: 3 articles without a translation, kept in English" in readable([report])


def test_an_empty_translation_takes_no_title_away(write_mind: WriteMind, tmp_path: Path) -> None:
    """An article without any text would be ranked by nothing, and counted as translated."""
    news = write_tsv(tmp_path / "ron.tsv", ROMANIAN[0], "N1\t \t", "N2\tAltul\t")
    train = write_mind()
    convert("mind", train, tmp_path)
    english = items(tmp_path)[0]
    report = convert("xmind", train, tmp_path, news=[news])
    assert items(tmp_path)[0] == english
    assert english[3]
    assert report["xmind"]["articles_without_translation"] == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("N3\ta title", "expected 3 tab-separated columns"),
        ("\ta\tb", "column 1: expected an id"),
        ("N3\t\udcff\t", "expected UTF-8"),
    ],
)
def test_a_bad_translation_is_named(
    write_mind: WriteMind, tmp_path: Path, line: str, expected: str
) -> None:
    news, train = write_tsv(tmp_path / "ron.tsv", *ROMANIAN, line), write_mind()
    with pytest.raises(ConversionError, match=rf"ron\.tsv:4: {expected}"):
        convert("xmind", train, tmp_path, news=[news])
    report = convert("xmind", train, tmp_path, news=[news], on_error="skip")
    assert report["skipped_lines"]["total"] == 1


def test_xmind_expects_translations(write_mind: WriteMind, tmp_path: Path) -> None:
    train = write_mind()
    with pytest.raises(ConversionError, match=r"with xMIND's news.tsv as --news, got no --news"):
        convert("xmind", train, tmp_path)
    (tmp_path / "ron").mkdir()
    with pytest.raises(ConversionError, match=r"found no .*ron.news\.tsv"):
        convert("xmind", train, tmp_path, news=[tmp_path / "ron"])


PENS_NEWS = (
    "News ID\tCategory\tTopic\tHeadline\tNews body\tTitle entity\tEntity content",
    'N1\tsports\tsoccer\tA "line-up"\tOnly five.\t{}\t{}',
    "N2\tnews\tus\tOther\t\t{}\t{}",
    "N3\tnews\tus\tThird\tBody three.\t{}\t{}",
)
PENS_IMPRESSIONS = (
    "UserID\tClicknewsID\tdwelltime\texposure_time\tpos\tneg\tstart\tend\tdwelltime_pos",
    "U1\tN1 N2\t1 2\tx#TAB#y\tN3\tN2 N1\t7/3/2019 6:43:49 AM\t7/3/2019 7:06:06 AM\t34",
    "U2\t\t\t\tN1 N2\t\t7/4/2019 6:43:49 PM\t7/4/2019 7:06:06 PM\t3 4",
)


def write_pens(folder: Path, *more: str, header: bool = True) -> Path:
    write_tsv(folder / "news.tsv", *PENS_NEWS[not header :])
    return write_tsv(folder / "train.tsv", *PENS_IMPRESSIONS[not header :], *more)


@pytest.mark.parametrize("header", [True, False])
def test_pens_has_bodies_and_what_was_clicked_is_shuffled_among_the_rest(
    tmp_path: Path, header: bool
) -> None:
    convert("pens", write_pens(tmp_path / "PENS", header=header), tmp_path)
    first, second = inter(tmp_path, "train", "valid")
    assert first[1:4] == ["U1", "1562136229", "N1 N2"]
    labelled = dict(zip(first[4].split(), first[5].split(), strict=True))
    assert labelled == {"N1": "0", "N2": "0", "N3": "1"}
    assert second[1:4] == ["U2", "1562265829", ""]
    assert sorted(second[4].split()) == ["N1", "N2"]
    assert second[5] == "1 1"
    assert items(tmp_path) == [
        ["N1", "sports", "soccer", 'A "line-up"', "", "Only five."],
        ["N2", "news", "us", "Other", "", ""],
        ["N3", "news", "us", "Third", "", "Body three."],
    ]


GOOD_PENS = "U3\tN1\t1\tx\tN3\tN2\t7/5/2019 6:43:49 AM\t7/5/2019 7:06:06 AM\t34"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (GOOD_PENS.replace("U3\t", "U3"), "expected 9 tab-separated columns"),
        (GOOD_PENS.replace("U3", ""), "column 1: expected an id"),
        (GOOD_PENS.replace("\tN1\t", "\tN1  N2\t"), "column 2: expected ids separated"),
        (GOOD_PENS.replace("N3\tN2", "\t"), "column 5: expected at least one candidate here or"),
        (GOOD_PENS.replace("N2", "[PAD]"), "column 6: expected an id other than"),
        (GOOD_PENS.replace("6:43:49", "26:43:49"), "column 7: expected a time such as"),
    ],
)
def test_a_bad_impression_of_pens_is_named(tmp_path: Path, line: str, expected: str) -> None:
    train = write_pens(tmp_path / "PENS", line)
    with pytest.raises(ConversionError, match=rf"train\.tsv:4: {expected}"):
        convert("pens", train, tmp_path)
    report = convert("pens", train, tmp_path, on_error="skip")
    assert report["skipped_lines"]["total"] == 1
    assert len(inter(tmp_path, "train", "valid")) == 2


def test_pens_without_its_articles_is_told(tmp_path: Path) -> None:
    train = write_pens(tmp_path / "PENS")
    (train.parent / "news.tsv").unlink()
    with pytest.raises(ConversionError, match=r"found no news\.tsv"):
        convert("pens", train, tmp_path)
    with pytest.raises(ConversionError, match=r"--train=.*found a folder"):
        convert("pens", train.parent, tmp_path)


def test_a_file_of_bodies_beside_bodies_is_refused(tmp_path: Path) -> None:
    bodies = tmp_path / "bodies.tsv.gz"
    bodies.write_bytes(gzip.compress(b"N1\tt\tbody\n"))
    with pytest.raises(ConversionError, match=r"--format=pens have them\. Leave"):
        convert("pens", write_pens(tmp_path / "PENS"), tmp_path, bodies=bodies)
