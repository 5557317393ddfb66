from __future__ import annotations

from pathlib import Path

import pytest
from mind_folder import IMPRESSIONS, WriteMind

from recbole_tinynews.convert import ConversionError, convert_mind
from recbole_tinynews.convert.errors import stop
from recbole_tinynews.convert.pooling import read_folders


def test_ids_that_two_folders_share_become_unique(write_mind: WriteMind) -> None:
    """MIND counts the impressions of each folder from 1, and results are told apart by id."""
    given = [["1", "1/2"], ["1", "1/2"], ["1", "8"]]
    folders = [
        write_mind([f"{id_}\tU{n}\t11/15/2019 1:00:00 AM\t\tN1-1" for id_ in ids], name=str(n))
        for n, ids in enumerate(given)
    ]
    ids = [each.impression_id for each in read_folders(folders, stop, True)]
    assert ids == ["1", "1/2", "1/2/2", "1/2/2/2", "1/3", "8"]
    assert [each.impression_id for each in read_folders(folders[1:2], stop, True)] == ["1", "1/2"]


def test_an_impression_that_two_folders_share_is_refused(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    """It would be trained on, or tested, twice."""
    folders = [write_mind(), write_mind(IMPRESSIONS[1:2], name="more")]
    with pytest.raises(ConversionError, match="got 2 of U2 at the same time again"):
        convert_mind(folders, "tiny", output=tmp_path / "out", on_error="skip")


def test_training_impressions_of_several_folders_are_all_converted(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    later = [row.replace("11/15", "11/16") for row in IMPRESSIONS[1:]]
    folders = [write_mind(), write_mind(later, name="more")]
    report = convert_mind(folders, "tiny", output=tmp_path / "out")
    counts = {split: part["impressions"] for split, part in report["impressions"].items()}
    assert counts == {"train": 3, "valid": 2}
    assert report["settings"]["train"] == [*map(str, folders)]


def test_no_folder_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="at least one folder"):
        convert_mind([], "tiny", output=tmp_path / "out")
