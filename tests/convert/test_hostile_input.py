"""Invalid input that ``test_bad_input`` does not cover: limits, names of files, paths."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from mind_folder import IMPRESSIONS, NEWS, WriteMind

from recbole_tinynews.convert import ConversionError, convert_mind
from recbole_tinynews.files import lines

GOOD = "7\tU1\t11/15/2019 1:00:00 AM\tN1\tN2-0 N3-1"


@pytest.mark.parametrize(
    ("line", "column"),
    [
        (GOOD.replace("U1", "[PAD]"), 2),
        (GOOD.replace("\tN1\t", "\tN2 [PAD]\t"), 4),
        (GOOD.replace("N2-0", "[PAD]-0"), 5),
        (GOOD.replace("N3-1", "[PAD]-1"), 5),
    ],
)
def test_an_id_that_is_recboles_padding_is_refused(
    write_mind: WriteMind, tmp_path: Path, line: str, column: int
) -> None:
    """It would get index 0, which stands for every empty history slot."""
    train = write_mind([*IMPRESSIONS, line])
    with pytest.raises(ConversionError, match=rf"behaviors.tsv:4: column {column}: .*padding"):
        convert_mind(train, "tiny", output=tmp_path / "out")
    report = convert_mind(train, "tiny", output=tmp_path / "out", on_error="skip")
    assert report["skipped_lines"]["kinds"]["reserved id"]["count"] == 1


def test_news_and_bodies_of_the_padding_are_refused(write_mind: WriteMind, tmp_path: Path) -> None:
    train = write_mind(news=[*NEWS, "[PAD]\ta\tb\tt\t\t\t\t"])
    with pytest.raises(ConversionError, match=r"news.tsv:4: column 1: .*padding"):
        convert_mind(train, "tiny", output=tmp_path / "out")
    report = convert_mind(train, "tiny", output=tmp_path / "out", on_error="skip")
    assert report["items"] == 3


def test_an_id_that_only_holds_the_padding_is_an_id(write_mind: WriteMind, tmp_path: Path) -> None:
    train = write_mind([*IMPRESSIONS, GOOD.replace("N3-1", "x[PAD]-1")])
    assert convert_mind(train, "tiny", output=tmp_path / "out")["items"] == 4


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_without_line_ends_is_refused_before_it_fills_the_memory(
    write_mind: WriteMind, tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gzip of zeros unpacks to a thousand times its size."""
    monkeypatch.setattr(lines, "LONGEST_LINE", 100_000)
    train, content = write_mind(), b"x" * 10_000_000
    (train / "news.tsv").write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ConversionError, match=r"news.tsv, line 1, expects at most 100,000"):
        convert_mind(train, "tiny", output=tmp_path / "out", on_error="skip")


def test_a_file_that_cannot_be_read_is_named(
    write_mind: WriteMind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are simulated: a bad sector, and a file of another user (which root could read)."""
    train, opened = write_mind(), Path.open

    def denied(self: Path, mode: str = "r", **more: object) -> object:
        if self.name == "behaviors.tsv":
            raise PermissionError(13, "Permission denied")
        return opened(self, mode, **more)

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ConversionError, match=r"behaviors.tsv: expected a readable file, got"):
        convert_mind(train, "tiny", output=tmp_path / "out")


@pytest.mark.parametrize("flag", ["train", "valid", "test", "bodies", "output"])
def test_a_nul_byte_in_a_path_is_an_error_of_its_flag(
    write_mind: WriteMind, tmp_path: Path, flag: str
) -> None:
    given = {"train": write_mind(), "output": tmp_path / "out", flag: "a\0b"}
    with pytest.raises(ConversionError, match=f"--{flag}='a"):
        convert_mind(dataset="tiny", **given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["train", "valid", "test", "bodies", "output", "dataset"])
def test_a_name_that_is_too_long_for_the_system_is_an_error_of_its_flag(
    write_mind: WriteMind, tmp_path: Path, flag: str
) -> None:
    given = {"train": write_mind(), "output": tmp_path / "out", "dataset": "tiny"}
    given[flag] = "n" * 300
    with pytest.raises(ConversionError, match=f"--{'output' if flag == 'dataset' else flag}="):
        convert_mind(**given)
    assert not (tmp_path / "out").exists()


def test_links_that_lead_to_themselves_are_no_files(write_mind: WriteMind, tmp_path: Path) -> None:
    train = write_mind()
    (train / "news.tsv").unlink()
    (train / "news.tsv").symlink_to(train / "news.tsv")
    with pytest.raises(ConversionError, match=r"found no news\.tsv"):
        convert_mind(train, "tiny", output=tmp_path / "out")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_the_place_of_a_file_does_not_wait_for_ever(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    train = write_mind()
    (train / "behaviors.tsv").unlink()
    os.mkfifo(train / "behaviors.tsv")
    with pytest.raises(ConversionError, match=r"found no behaviors\.tsv"):
        convert_mind(train, "tiny", output=tmp_path / "out")


def test_file_names_that_are_not_unicode_are_accepted(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    train = write_mind(name="tr\udcffain")
    report = convert_mind(train, "tiny", output=tmp_path / "o\udcfft")
    assert report["impressions"]["train"]["impressions"] == 1


@pytest.mark.parametrize(
    "time",
    [
        *("", " ", "0/1/2019 1:00:00 AM", "13/1/2019 1:00:00 AM", "11/15/0000 1:00:00 AM"),
        *("11/15/2019 1:60:00 AM", "11/15/2019 0:00:00 AM", "11/15/2019  1:00:00 AM"),
        *("11/15/2019 1:00:00 am", "11/15/2019 1:00:00", "2019-11-15 01:00:00", "1573775999"),
        *("11/15/2019 1:00:00 AM ", "-1/15/2019 1:00:00 AM", "11/15/99999 1:00:00 AM"),
        "\u0661/15/2019 1:00:00 AM",  # a digit to str.isdigit and int()
    ],
)
def test_an_invalid_time_makes_a_bad_line(write_mind: WriteMind, tmp_path: Path, time: str) -> None:
    train = write_mind([*IMPRESSIONS, GOOD.replace("11/15/2019 1:00:00 AM", time)])
    with pytest.raises(ConversionError, match=r"behaviors.tsv:4: column 3: expected a time"):
        convert_mind(train, "tiny", output=tmp_path / "out")
