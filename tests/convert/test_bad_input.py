"""Whole files, places and settings that can't be used. Bad rows: ``test_bad_rows``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from mind_folder import IMPRESSIONS, WriteMind

from recbole_tinynews.convert import ConversionError, convert_news

Refused = Callable[..., str]
GOOD = "7\tU1\t11/15/2019 1:00:00 AM\tN1\tN2-0 N3-1"
UNLABELLED = [re.sub(r"-[01](?= |$)", "", line) for line in IMPRESSIONS]


@pytest.fixture
def refused(write_mind: WriteMind, tmp_path: Path) -> Refused:
    """The message of a conversion that must fail and leave no file."""

    def convert(**settings: object) -> str:
        given = {"train": tmp_path / "train", "dataset": "tiny", "output": tmp_path / "out"}
        with pytest.raises(ConversionError) as caught:
            convert_news(**{**given, **settings})
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    write_mind()
    return convert


@pytest.mark.parametrize(
    ("rows", "on_error", "message"),
    [
        ([*UNLABELLED, GOOD], "stop", "behaviors.tsv:4: column 5: expected candidates without"),
        ([GOOD, *UNLABELLED], "stop", "behaviors.tsv:2: column 5: expected -0 or -1 after each"),
        ([GOOD, *UNLABELLED], "skip", "got 3 without and 1 with"),  # not most of it is dropped
    ],
)
def test_labelled_and_unlabelled_are_not_mixed(
    write_mind: WriteMind, refused: Refused, rows: list[str], on_error: str, message: str
) -> None:
    test = write_mind(rows, name="test")
    assert message in refused(test=test, on_error=on_error)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_an_unlabelled_set_cannot_be_trained_or_validated_on(
    write_mind: WriteMind, refused: Refused, split: str
) -> None:
    message = refused(**{split: write_mind(UNLABELLED, name="unlabelled")})
    assert "only --test may go without labels" in message


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("file", ["behaviors.tsv", "news.tsv"])
def test_a_file_that_is_none_or_holds_nothing_is_an_error(
    tmp_path: Path, refused: Refused, file: str, on_error: str
) -> None:
    path = tmp_path / "train" / file
    path.write_text("nothing\nof\nuse\n")
    usable = "no usable line" in refused(on_error=on_error)
    assert usable == (on_error == "skip")
    path.write_bytes(b"")
    assert "got an empty file" in refused(on_error=on_error)
    path.unlink()
    assert f"found no {file}" in refused(on_error=on_error)
    path.mkdir()
    assert f"found no {file}" in refused(on_error=on_error)
    path.rmdir()
    path.symlink_to(path)
    assert f"found no {file}" in refused(on_error=on_error)
    if hasattr(os, "mkfifo"):
        path.unlink()
        os.mkfifo(path)  # must not wait for a writer
        assert f"found no {file}" in refused(on_error=on_error)


def test_a_missing_folder_is_an_error(refused: Refused, tmp_path: Path) -> None:
    assert "found nothing there" in refused(train=tmp_path / "none")
    assert "found nothing there" in refused(test=tmp_path / "none")
    assert "found a file" in refused(train=tmp_path / "train" / "news.tsv")
    assert "bodies.tsv.gz" in refused(bodies=tmp_path / "bodies.tsv.gz")
    message = refused(valid="lastday")
    assert "--valid=lastday" in message
    assert "also takes last-day or a fraction" in message


NAMES = ["", "a/b", "a\\b", "..", ".hidden", "-x", "a b", "a\tb", "a-flat"]
FRACTIONS = [0, 1, -0.1, "0.0", "1e9", "nan", "inf", 0.001, 0.999]


@pytest.mark.parametrize(
    ("flag", "value"), [*(("dataset", n) for n in NAMES), *(("valid", n) for n in FRACTIONS)]
)
def test_no_folder_name_and_a_fraction_that_leaves_a_side_empty_are_refused(
    refused: Refused, flag: str, value: float | str
) -> None:
    assert f"--{flag}=" in refused(**{flag: value})


def test_last_day_of_a_single_day_says_what_to_do(write_mind: WriteMind, refused: Refused) -> None:
    message = refused(train=write_mind(IMPRESSIONS[1:], name="day"))
    assert "at least two days, got only 2019-11-15" in message
    assert "--valid=0.1" in message


@pytest.mark.parametrize("flag", ["train", "valid", "test", "bodies", "output", "dataset"])
def test_a_path_that_the_system_refuses_is_an_error_of_its_flag(
    refused: Refused, flag: str
) -> None:
    assert f"--{'output' if flag == 'dataset' else flag}=" in refused(**{flag: "n" * 300})
    assert f"--{flag}='a" in refused(**{flag: "a\0b"})


def test_file_names_that_are_not_unicode_are_accepted(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    train = write_mind(name="tr\udcffain")
    report = convert_news(train, "tiny", output=tmp_path / "o\udcfft")
    assert report["impressions"]["train"]["impressions"] == 1


def test_a_file_that_cannot_be_read_is_named(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated: a bad sector, or a file of another user (which root could read)."""
    opened = Path.open

    def denied(self: Path, mode: str = "r", **more: object) -> object:
        if self.name == "behaviors.tsv":
            raise PermissionError(13, "Permission denied")
        return opened(self, mode, **more)

    monkeypatch.setattr(Path, "open", denied)
    assert "behaviors.tsv: expected a readable file, got" in refused()
