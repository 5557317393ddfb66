"""Adressa, xMIND and PENS, in the published layouts, with invented rows."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from good_places import EVENTS, PENS_IMPRESSIONS, ROMANIAN, write_events, write_lines, write_pens
from mind_folder import WriteMind
from plain_mind import read

from recbole_tinynews.convert import ConversionError, convert_news
from recbole_tinynews.convert.__main__ import summary


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


def test_a_place_without_events_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place, found in ((tmp_path / "empty", "an empty folder"), (tmp_path / "none", "nothing")):
        with pytest.raises(ConversionError, match=f"--train=.*found {found}"):
            convert("adressa", place, tmp_path)


@pytest.mark.parametrize("header", [True, False])
def test_xmind_is_mind_with_other_titles_and_abstracts(
    write_mind: WriteMind, tmp_path: Path, header: bool
) -> None:
    news = write_lines(tmp_path / "ron" / "news.tsv", *ROMANIAN[not header :])
    again = write_lines(tmp_path / "ron-dev.tsv", "N2\tAltfel\t")
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
    news = write_lines(tmp_path / "ron.tsv", ROMANIAN[0], "M1\tUn titlu\t")
    report = convert("xmind", write_mind(), tmp_path, news=[news])
    assert " note: 3 articles without a translation, kept in English" in summary(report)


def test_an_empty_translation_takes_no_title_away(write_mind: WriteMind, tmp_path: Path) -> None:
    """An article without any text would be ranked by nothing, and counted as translated."""
    news = write_lines(tmp_path / "ron.tsv", ROMANIAN[0], "N1\t \t", "N2\tAltul\t")
    train = write_mind()
    convert("mind", train, tmp_path)
    english = items(tmp_path)[0]
    report = convert("xmind", train, tmp_path, news=[news])
    assert items(tmp_path)[0] == english
    assert english[3]
    assert report["xmind"]["articles_without_translation"] == 2


def test_xmind_expects_translations(write_mind: WriteMind, tmp_path: Path) -> None:
    train = write_mind()
    with pytest.raises(ConversionError, match=r"with xMIND's news.tsv as --news, got no --news"):
        convert("xmind", train, tmp_path)
    (tmp_path / "ron").mkdir()
    with pytest.raises(ConversionError, match=r"found no .*ron.news\.tsv"):
        convert("xmind", train, tmp_path, news=[tmp_path / "ron"])


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


def test_the_place_of_a_click_of_pens_does_not_give_it_away(tmp_path: Path) -> None:
    """The file lists clicked articles first: a constant model would have all of them right."""
    more = [PENS_IMPRESSIONS[1].replace("U1", f"V{number}") for number in range(60)]
    convert("pens", write_pens(tmp_path / "PENS", *more), tmp_path)
    labels = [row[5] for row in inter(tmp_path, "train", "valid") if row[1].startswith("V")]
    assert set(labels) == {"1 0 0", "0 1 0", "0 0 1"}


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
