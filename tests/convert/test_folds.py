from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mind_folder import NEWS, WriteMind

from recbole_tinynews.convert import (
    ConversionError,
    conversion,
    convert_folds,
    convert_mind,
    release,
)
from recbole_tinynews.convert import __main__ as command
from recbole_tinynews.convert.atomic import InterRow, read_inter
from recbole_tinynews.convert.folds import groups_of
from recbole_tinynews.convert.options import LAST_DAY

USERS, DAYS = 11, 3
Rows = dict[str, list[InterRow]]


@pytest.fixture
def two_folders(write_mind: WriteMind) -> list[Path]:
    """The first days, and the last one under the same ids."""
    rows = [
        f"{user}{day}\tU{user}\t11/{10 + day}/2019 1:00:00 AM\tN1 N2\tN3-0 N2-1"
        for day in range(DAYS)
        for user in range(USERS)
    ]
    last = [row.replace("/12/", "/13/") for row in rows[-USERS:]]
    return [write_mind(rows), write_mind(last, name="last")]


def read(output: Path, number: int) -> Rows:
    name = f"tiny-fold{number}"
    return {
        split: list(read_inter(output / name / f"{name}.{split}.inter"))
        for split in ("train", "valid", "test")
    }


def test_every_impression_is_tested_once_and_by_a_fold_without_its_user(
    two_folders: list[Path], tmp_path: Path
) -> None:
    """A user in training and test gives away what the folds are made to keep apart."""
    reports = convert_folds(two_folders, "tiny", 4, output=tmp_path)
    tested: Counter[str] = Counter()
    for number, report in enumerate(reports, 1):
        rows = read(tmp_path, number)
        of = {split: {row.user_id for row in each} for split, each in rows.items()}
        assert not of["test"] & (of["train"] | of["valid"])
        ids = [row.impression_id for each in rows.values() for row in each]
        assert len(ids) == len(set(ids)) == USERS * (DAYS + 1)  # none lost, none twice
        tested.update(row.impression_id for row in rows["test"])
        assert max(row.timestamp for row in rows["train"]) < min(
            row.timestamp for row in rows["valid"]
        )
        assert {split: part["impressions"] for split, part in report["impressions"].items()} == {
            split: len(each) for split, each in rows.items()
        }
        assert report["fold"]["number"], report["fold"]["of"] == (number, 4)
        assert report["fold"]["test_users"] == len(of["test"])
        assert report["fold"]["other_users"] == USERS - len(of["test"])
        name = f"tiny-fold{number}"
        assert json.loads((tmp_path / name / f"{name}.report.json").read_text()) == report
        assert "overlaps" not in report  # a fold has seen the future of other users
    assert set(tested.values()) == {1}
    assert len(tested) == USERS * (DAYS + 1)


def test_groups_are_even_and_do_not_depend_on_the_order_of_impressions() -> None:
    """Folds that change with the order of folders would not be the folds of an earlier result."""
    users = [f"U{number % 23}" for number in range(100)]
    order = np.random.default_rng(0).permutation(100)
    group = groups_of(users, 5)
    assert groups_of([users[place] for place in order], 5).tolist() == group[order].tolist()
    sizes = Counter(group[place] for place in range(23))
    assert sorted(sizes.values()) == [4, 4, 5, 5, 5]
    assert group[:5].tolist() == [3, 4, 0, 2, 0]  # the same in every version


def test_a_fold_that_another_conversion_writes_is_refused(
    two_folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second(*_: object) -> None:
        with pytest.raises(ConversionError, match="'tiny-fold3' there"):
            convert_folds(two_folders, "tiny", 3, output=tmp_path)
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "read_places", second)
    with pytest.raises(KeyboardInterrupt):
        convert_mind(two_folders, "tiny-fold3", output=tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 1}, "--folds=1: expected at least 2"),
        ({"folds": USERS + 1}, f"at least as many users, got {USERS}"),
        ({"valid": 1.5}, "--valid=1.5: expected a fraction"),
        ({"valid": "elsewhere"}, "--valid=elsewhere: expected last-day or a fraction with --folds"),
        ({"folders": []}, "at least one folder"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(
    two_folders: list[Path], tmp_path: Path, settings: dict, message: str
) -> None:
    arguments = {"folders": two_folders, "folds": 3, **settings}
    with pytest.raises(ConversionError, match=message):
        convert_folds(dataset="tiny", output=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_one_day_alone_cannot_be_validated_on_by_day(
    two_folders: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match="at least two days"):
        convert_folds(two_folders[1], "tiny", 3, output=tmp_path)
    reports = convert_folds(two_folders[1], "tiny", 3, valid=0.25, output=tmp_path)
    assert [report["impressions"]["valid"]["impressions"] for report in reports] == [2, 2, 2]


def test_stock_recbole_can_read_every_fold(two_folders: list[Path], tmp_path: Path) -> None:
    reports = convert_folds(two_folders, "tiny", 3, output=tmp_path, layout="interaction")
    for number, report in enumerate(reports, 1):
        name = f"tiny-fold{number}-flat"
        assert report["flat"]["dataset"] == name
        assert len(list((tmp_path / name).iterdir())) == 4
        rows = (tmp_path / name / f"{name}.test.inter").read_text().count("\n") - 1
        assert (
            rows
            == report["flat"]["rows"]["test"]
            == 2 * report["impressions"]["test"]["impressions"]
        )


def test_the_command_pools_train_and_test_and_says_what_the_folds_are(
    two_folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = two_folders
    flags = [f"--train={first}", f"--test={last}", "--dataset=tiny", f"--output={tmp_path / 'out'}"]
    assert command.main([*flags, "--folds=3", "--check-leaks"]) == 0
    printed = capsys.readouterr().out
    assert "tiny-fold3: fold 3 of 3 by user, 3 users are tested and 8 are not" in printed
    assert printed.count(" leak: ") == 3 * 3  # the only clicked article is in the history
    assert printed.count(" news: 3, 3 items") == 1
    assert "out/tiny-fold1/, " in printed
    pooled = convert_folds(two_folders, "tiny", 3, output=tmp_path / "again", check_leaks=True)
    assert read(tmp_path / "out", 2) == read(tmp_path / "again", 2)
    assert len(pooled) == 3


def test_an_unlabelled_test_folder_has_no_place_in_folds(
    two_folders: list[Path],
    write_mind: WriteMind,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unlabelled = write_mind(["1\tU1\t11/15/2019 1:00:00 AM\tN1\tN2 N3"], NEWS, name="unlabelled")
    flags = [f"--train={two_folders[0]}", "--dataset=tiny", f"--output={tmp_path / 'out'}"]
    assert command.main([*flags, f"--test={unlabelled}", "--folds=3"]) == 1
    assert "only --test may go without labels, and not with --folds" in capsys.readouterr().err


def test_a_downloaded_release_is_dealt_out_as_a_whole(
    two_folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its dev folder is a test set otherwise, and would be left out of the folds silently."""
    splits = {"train": two_folders[0], "valid": LAST_DAY, "test": two_folders[1]}
    monkeypatch.setattr(release, "download", lambda *_: splits)
    assert command.main(["--download=demo", "--folds=3", f"--output={tmp_path / 'out'}"]) == 0
    tested = [
        read_inter(tmp_path / "out" / name / f"{name}.test.inter")
        for name in (f"mind-demo-fold{number}" for number in (1, 2, 3))
    ]
    assert sum(len(list(rows)) for rows in tested) == USERS * (DAYS + 1)


def test_the_large_release_is_refused_before_its_download(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its test set is unlabelled: gigabytes would be fetched in vain."""
    with pytest.raises(SystemExit):
        command.main(["--download=large", "--folds=5"])
    assert "--folds tests all impressions" in capsys.readouterr().err
