from __future__ import annotations

import json
from pathlib import Path

import pytest
from mind_folder import IMPRESSIONS, WriteMind

from recbole_tinynews.convert import ConversionError, convert_news
from recbole_tinynews.convert.__main__ import main
from recbole_tinynews.convert.conversion import read_places
from recbole_tinynews.convert.readers.mind import MindReader
from recbole_tinynews.convert.readers.reader import Options


def test_ids_that_two_folders_share_become_unique(write_mind: WriteMind) -> None:
    """MIND counts the impressions of each folder from 1, and results are told apart by id."""
    given = [["1", "1/2"], ["1", "1/2"], ["1", "8"]]
    folders = [
        write_mind([f"{id_}\tU{n}\t11/15/2019 1:00:00 AM\t\tN1-1" for id_ in ids], name=str(n))
        for n, ids in enumerate(given)
    ]
    ids = [each.impression_id for each in read_places(MindReader(Options()), folders, True)]
    assert ids == ["1", "1/2", "1/2/2", "1/2/2/2", "1/3", "8"]
    assert [
        each.impression_id for each in read_places(MindReader(Options()), folders[1:2], True)
    ] == ["1", "1/2"]


def test_an_impression_that_two_folders_share_is_refused(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    """It would be trained on, or tested, twice."""
    folders = [write_mind(), write_mind(IMPRESSIONS[1:2], name="more")]
    with pytest.raises(ConversionError, match="got 2 of U2 at the same time again"):
        convert_news(folders, "tiny", output=tmp_path / "out", on_error="skip")


def test_training_impressions_of_several_folders_are_all_converted(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    later = [row.replace("11/15", "11/16") for row in IMPRESSIONS[1:]]
    folders = [write_mind(), write_mind(later, name="more")]
    report = convert_news(folders, "tiny", output=tmp_path / "out")
    counts = {split: part["impressions"] for split, part in report["impressions"].items()}
    assert counts == {"train": 3, "valid": 2}
    assert report["settings"]["train"] == [*map(str, folders)]


def test_no_folder_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="at least one folder"):
        convert_news([], "tiny", output=tmp_path / "out")


def test_of_several_test_folders_none_is_forgotten(write_mind: WriteMind, tmp_path: Path) -> None:
    """Of a flag that is given twice the last one alone would count, without a word."""
    tests = [
        write_mind([row.replace("\tU", f"\t{user}") for row in IMPRESSIONS], name=user)
        for user in ("V", "W")
    ]
    flags = [f"--train={write_mind()}", *(f"--test={folder}" for folder in tests)]
    output = tmp_path / "out"
    assert main([*flags, "--valid=0.5", "--dataset=tiny", f"--output={output}"]) == 0
    report = json.loads((output / "tiny" / "tiny.report.json").read_text())
    assert report["impressions"]["test"]["impressions"] == 2 * len(IMPRESSIONS)
    assert report["settings"]["test"] == [*map(str, tests)]
