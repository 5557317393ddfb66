"""Conversions that fail, are killed, meet a full disk or each other: all files or none."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mind_folder import IMPRESSIONS, WriteMind

from recbole_tinynews.convert import ConversionError, conversion, convert_news
from recbole_tinynews.convert.__main__ import main
from recbole_tinynews.convert.atomic import staged


@pytest.fixture
def process(write_mind: WriteMind, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A conversion into ``tmp_path / "out"`` that stays in its middle until it is stopped."""
    flags = [f"--train={write_mind()}", "--dataset=tiny", f"--output={tmp_path / 'out'}"]
    code = (
        "import signal, sys, time\n"
        "from recbole_tinynews.convert import conversion\n"
        "from recbole_tinynews.convert.__main__ import _end, main\n"
        "signal.signal(signal.SIGTERM, _end)\n"
        "def wait(*_):\n"
        "    print('in the middle', flush=True)\n"
        "    time.sleep(60)\n"
        "conversion.write_items = wait\n"
        f"sys.exit(main({flags!r}))"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)
    assert process.stdout.readline() == "in the middle\n"
    yield process
    process.kill()
    process.communicate()


def hidden(output: Path) -> list[str]:
    return sorted(path.name for path in output.iterdir() if path.name.startswith("."))


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_a_signal_in_the_middle_leaves_nothing_behind(
    process: subprocess.Popen[str], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """A data set that lacks its last impressions looks like a whole one."""
    process.send_signal(number)
    _, message = process.communicate(timeout=30)
    assert process.returncode == status
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()


def test_a_kill_leaves_what_the_next_conversion_removes_and_a_second_one_is_refused(
    process: subprocess.Popen[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two at once would remove each other's files; gigabytes under a hidden name would stay."""
    output = tmp_path / "out"
    before, began = hidden(output), time.perf_counter()
    with pytest.raises(ConversionError, match="another process is already writing"):
        convert_news(tmp_path / "train", "tiny", output=output)
    assert time.perf_counter() - began < 5  # waiting in silence looks like a hang
    assert hidden(output) == before
    convert_news(tmp_path / "train", "other", output=output)  # another name does not collide
    assert process.poll() is None
    process.kill()
    process.wait()
    assert len(hidden(output)) == 2  # the partial folder and the lock
    assert not (output / "tiny").exists()
    others = (".tiny.b.abcdefgh.partial", ".tiny.abcdefgh.partial.mine", ".tinyXabcdefgh.partial")
    for name in others:  # of other data sets, which another process may be writing
        (output / name).mkdir()
    convert_news(tmp_path / "train", "tiny", output=output)
    assert hidden(output) == sorted(others)
    assert "leftovers of a killed conversion were removed" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit there")
@pytest.mark.parametrize("limit", [0, 100, 200_000])
def test_a_disk_that_fills_up_is_one_error_and_leaves_nothing(
    write_mind: WriteMind, tmp_path: Path, limit: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real size limit, so that errors of a buffer that is flushed late occur too."""
    import resource

    rows = [f"{n}\tU1\t11/{9 + n % 2}/2019 1:00:00 AM\tN1 N2\tN3-0 N2-1" for n in range(9_000)]
    flags = [f"--train={write_mind(rows)}", f"--output={tmp_path / 'out' / 'deep'}"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        assert main([*flags, "--dataset=tiny", "--layout=interaction"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def convert(write_mind: WriteMind, tmp_path: Path) -> Callable[..., None]:
    """Convert six users' impressions into ``tmp_path / "out"``."""
    rows = [row.replace("\tU", f"\t{letter}U") for row in IMPRESSIONS[:2] for letter in "abc"]
    folder = write_mind([f"{number}{row}" for number, row in enumerate(rows)], name="users")

    def convert(**more: str) -> None:
        convert_news(folder, "tiny", valid=0.5, output=tmp_path / "out", **more)

    return convert


@pytest.mark.parametrize("after", range(1, 9))
def test_whichever_write_fails_all_earlier_files_stay(
    convert: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Half a data set would be loaded as a whole one."""
    convert()
    before, opened, left = files(tmp_path / "out"), Path.open, [after]

    def full(self: Path, mode: str = "r", **more: object) -> object:
        if "w" in mode:
            left[0] -= 1
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
        return opened(self, mode, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ConversionError, match=r"--output=.*No space left on device: '.*tiny'"):
        convert(layout="interaction")
    monkeypatch.undo()
    assert files(tmp_path / "out") == before
    assert not hidden(tmp_path / "out")


def test_a_kill_between_two_data_sets_leaves_no_old_one_beside_a_new_one(
    convert: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(layout="interaction")
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.parent.name == "tiny-flat":
            raise RuntimeError
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(RuntimeError):
        convert(layout="interaction")
    assert {Path(file).parts[0] for file in files(tmp_path / "out")} == {"tiny"}


def test_the_report_disappears_first_and_comes_last_and_signals_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill between two renames old and new files are mixed: no report may cover them."""
    (tmp_path / "a").mkdir()
    for kind in ("item", "train.inter", "test.inter", "report.json"):
        (tmp_path / "a" / f"a.{kind}").write_text("old")
    moved, removed, replace, unlink = [], [], Path.replace, Path.unlink

    def interrupted(self: Path, target: Path) -> Path:
        assert {*files(tmp_path / "a")} == {*moved}  # all that a kill here would leave
        moved.append(target.name)
        os.kill(os.getpid(), signal.SIGINT)
        return replace(self, target)

    def recorded(self: Path, missing_ok: bool = False) -> None:
        removed.append(self.name)
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "replace", interrupted)
    monkeypatch.setattr(Path, "unlink", recorded)

    def write() -> None:
        with staged(tmp_path, ["a"]) as staging:
            for kind in ("report.json", "item", "train.inter"):
                (staging / "a" / f"a.{kind}").write_text("new")

    with pytest.raises(KeyboardInterrupt):
        write()
    ours = [name for name in removed if not name.startswith(".")]
    assert ours[:3] == ["a.report.json", "a.train.inter", "a.item"]
    assert moved == ["a.item", "a.train.inter", "a.report.json"]
    assert set(files(tmp_path).values()) == {b"new"}


def test_what_is_in_the_way_is_reported_before_hours_of_work(
    write_mind: WriteMind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "read_places", None)  # must not be reached
    train, out = write_mind(), tmp_path / "out"

    def refused(message: str) -> None:
        before = files(tmp_path)
        with pytest.raises(ConversionError, match=rf"--output=.*{message}"):
            convert_news(train, "tiny", output=out)
        assert files(tmp_path) == before

    for place, message in ((out, "expected a folder"), (out / "tiny", "is not a folder")):
        place.parent.mkdir(exist_ok=True)
        place.write_text("mine")
        refused(message)
        place.unlink()
    (out / "tiny").symlink_to(tmp_path / "nowhere")
    refused("is not a folder")
    (out / "tiny").unlink()
    for kind in ("item", "report.json"):
        (out / "tiny" / f"tiny.{kind}").mkdir(parents=True)
        (out / "tiny" / "tiny.train.inter").write_text("old")
        refused("is a folder")
        (out / "tiny" / f"tiny.{kind}").rmdir()

    def denied(*_: object, **__: object) -> None:  # root may write everywhere
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("recbole_tinynews.convert.atomic.Path.mkdir", denied)
    refused("Permission denied")
