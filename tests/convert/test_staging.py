from __future__ import annotations

import errno
from pathlib import Path

import pytest
from mind_folder import WriteMind

from recbole_tinynews.convert import ConversionError, conversion, convert_mind
from recbole_tinynews.convert.staging import staged


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_nothing_has_its_final_name_before_all_is_written(tmp_path: Path) -> None:
    with staged(tmp_path, ["a", "b"]) as staging:
        (staging / "a" / "a.item").write_text("new")
        (staging / "b" / "b.item").write_text("new")
        assert not (tmp_path / "a").exists()
        assert not (tmp_path / "b").exists()
    assert files(tmp_path) == {"a/a.item": "new", "b/b.item": "new"}


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), SystemExit(143), OSError(errno.ENOSPC, "disk full")]
)
def test_whatever_ends_a_conversion_leaves_the_old_files(
    tmp_path: Path, failure: BaseException
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.item").write_text("old")

    def fail() -> None:
        with staged(tmp_path, ["a"]) as staging:
            (staging / "a" / "a.item").write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        fail()
    assert files(tmp_path) == {"a/a.item": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_report_disappears_first_and_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill between two renames old and new files are mixed: no report may cover them."""
    (tmp_path / "a").mkdir()
    for kind in ("item", "report.json"):
        (tmp_path / "a" / f"a.{kind}").write_text("old")
    moved = []

    def replace(self: Path, target: Path) -> None:
        assert not (tmp_path / "a" / "a.report.json").exists()
        moved.append(target.name)

    monkeypatch.setattr(Path, "replace", replace)
    with staged(tmp_path, ["a"]) as staging:
        for kind in ("report.json", "item", "train.inter"):
            (staging / "a" / f"a.{kind}").write_text("new")
    assert moved[-1] == "a.report.json"
    assert len(moved) == 3


def test_ctrl_c_while_writing_impressions_leaves_nothing(
    write_mind: WriteMind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "impression_row", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert_mind(write_mind(), "tiny", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["out", "out/tiny"])
def test_a_file_where_a_folder_belongs_is_reported_before_hours_of_work(
    write_mind: WriteMind, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "read_places", None)  # must not be reached
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("mine")
    with pytest.raises(ConversionError, match=r"--output=.*expected a folder"):
        convert_mind(write_mind(), "tiny", output=tmp_path / "out")
    assert (tmp_path / place).read_text() == "mine"


def test_a_folder_that_cannot_be_written_to_is_an_error(
    write_mind: WriteMind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated, as root may write everywhere."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    train = write_mind()
    monkeypatch.setattr("recbole_tinynews.convert.staging.Path.mkdir", denied)
    with pytest.raises(ConversionError, match=r"--output=.*Permission denied"):
        convert_mind(train, "tiny", output=tmp_path / "out")
