"""Adressa in its published layout, with invented rows."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from good_places import EVENTS, GOOD, write_events
from plain_mind import read

from recbole_tinynews.convert import ConversionError, convert_news


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


def test_a_file_of_bodies_beside_bodies_is_refused(tmp_path: Path) -> None:
    bodies = tmp_path / "bodies.tsv.gz"
    bodies.write_bytes(gzip.compress(b"a\tt\tbody\n"))
    good = GOOD["shown"](tmp_path / "place")
    with pytest.raises(ConversionError, match=r"--format=table have them\. Leave"):
        convert_news(good.train, "x", output=tmp_path, bodies=bodies, valid=0.5, **good.given)
