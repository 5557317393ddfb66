"""Conversions that are killed, that meet a full disk, or that meet each other."""

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
from mind_folder import WriteMind

from recbole_tinynews.convert import ConversionError, atomic, convert_mind
from recbole_tinynews.convert.staging import staged

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(write_mind: WriteMind, tmp_path: Path) -> Iterator[Start]:
    """Start a conversion into ``tmp_path / "out"`` that stays in its middle until it is stopped."""
    train = write_mind()
    running: list[subprocess.Popen[str]] = []

    def run(before: str = "") -> subprocess.Popen[str]:
        code = (
            "import sys, time\n"
            "from recbole_tinynews.convert import conversion, convert_mind\n"
            "def wait(*_):\n"
            "    print('in the middle', flush=True)\n"
            "    time.sleep(60)\n"
            f"{before or 'conversion.write_items = wait'}\n"
            f"convert_mind({str(train)!r}, 'tiny', output={str(tmp_path / 'out')!r})\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def hidden(output: Path) -> list[str]:
    return sorted(path.name for path in output.iterdir() if path.name.startswith("."))


def test_leftovers_of_a_killed_conversion_are_removed_and_reported(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Gigabytes under a hidden name would stay on the disk for ever."""
    process, output = start(), tmp_path / "out"
    assert process.stdout.readline() == "in the middle\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(hidden(output)) == 3  # the partial folder, the lock, its holder
    assert not (output / "tiny").exists()
    convert_mind(tmp_path / "train", "tiny", output=output)
    assert hidden(output) == []
    assert "leftovers of a conversion that was killed were removed" in caplog.text


def test_a_second_conversion_is_refused_and_leaves_the_first_alone(
    start: Start, tmp_path: Path
) -> None:
    """Two at once would each remove or overwrite what the other has written."""
    process, output = start(), tmp_path / "out"
    assert process.stdout.readline() == "in the middle\n"
    before = hidden(output)
    with pytest.raises(ConversionError, match=rf"process \({process.pid}\) is already writing"):
        convert_mind(tmp_path / "train", "tiny", output=output)
    assert hidden(output) == before
    convert_mind(tmp_path / "train", "other", output=output)  # another name does not collide
    assert process.poll() is None


def test_a_kill_while_the_files_get_their_names_leaves_nothing_that_a_reader_accepts(
    start: Start, tmp_path: Path
) -> None:
    """Old impressions would be trained on with new articles, silently."""
    output = tmp_path / "out"
    (output / "tiny").mkdir(parents=True)
    for kind in ("item", "train.inter", "valid.inter", "test.inter", "report.json"):
        (output / "tiny" / f"tiny.{kind}").write_text("old")
    process = start(
        "from pathlib import Path\n"
        "replace = Path.replace\n"
        "def slow(self, target):\n"
        "    if self.name == 'tiny.item': wait()\n"
        "    return replace(self, target)\n"
        "Path.replace = slow"
    )
    assert process.stdout.readline() == "in the middle\n"
    process.kill()
    process.wait()
    assert [file.name for file in (output / "tiny").iterdir()] == ["tiny.valid.inter"]
    convert_mind(tmp_path / "train", "tiny", output=output)
    assert len(list((output / "tiny").iterdir())) == 4


def test_leftovers_of_another_data_set_are_left_alone(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    """``tiny`` is the beginning of ``tiny.b``, which another process may be writing."""
    others = (".tiny.b.abcdefgh.partial", ".tiny.abcdefgh.partial.mine", ".tinyXabcdefgh.partial")
    for name in others:
        (tmp_path / "out" / name).mkdir(parents=True)
    convert_mind(write_mind(), "tiny", output=tmp_path / "out")
    assert hidden(tmp_path / "out") == sorted(others)


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit there")
@pytest.mark.parametrize("layout", ["impression", "interaction"])
def test_a_disk_that_fills_up_is_one_error_and_leaves_nothing(
    write_mind: WriteMind, tmp_path: Path, layout: str
) -> None:
    """A real size limit, so that errors of a buffer that is flushed late occur too."""
    rows = [f"{n}\tU1\t11/{9 + n % 2}/2019 1:00:00 AM\tN1 N2\tN3-0 N2-1" for n in range(40_000)]
    train = write_mind(rows)
    code = (
        "import resource, signal, sys\n"
        "from recbole_tinynews.convert.__main__ import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)\n"
        "sys.exit(main(sys.argv[2:]))"
    )
    for limit in (0, 100, 1_000_000):
        result = subprocess.run(
            [
                *(sys.executable, "-c", code, str(limit), f"--train={train}", "--dataset=tiny"),
                *(f"--output={tmp_path / 'out'}", f"--layout={layout}"),
            ],
            capture_output=True,
            text=True,
        )
        assert result.returncode == 1
        assert "File too large" in result.stderr
        assert "Traceback" not in result.stderr
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("after", range(1, 8))
def test_whichever_write_fails_the_earlier_data_set_stays(
    write_mind: WriteMind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    train, output = write_mind(), tmp_path / "out"
    convert_mind(train, "tiny", output=output)
    before = {file.name: file.read_bytes() for file in (output / "tiny").iterdir()}
    opened = atomic.Path.open
    left = [after]

    def full(self: Path, mode: str = "r", **more: object) -> object:
        if "w" in mode and self.suffix != ".pid":  # a lock holds without its holder's name
            left[0] -= 1
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
        return opened(self, mode, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ConversionError, match=r"--output=.*No space left on device"):
        convert_mind(train, "tiny", output=output, layout="interaction")
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in (output / "tiny").iterdir()} == before
    assert [path.name for path in output.iterdir()] == ["tiny"]


def test_ctrl_c_during_the_renames_waits_for_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    replace = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        os.kill(os.getpid(), signal.SIGINT)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)

    def convert() -> None:
        with staged(tmp_path, ["a"]) as staging:
            for kind in ("item", "train.inter", "report.json"):
                (staging / "a" / f"a.{kind}").write_text("new")

    with pytest.raises(KeyboardInterrupt):
        convert()
    assert len(list((tmp_path / "a").iterdir())) == 3


def test_folders_made_for_a_conversion_that_failed_are_removed(tmp_path: Path) -> None:
    def fail() -> None:
        with staged(tmp_path / "a" / "b", ["c"]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("place", ["tiny.item", "tiny.report.json"])
def test_a_folder_in_place_of_a_file_is_reported_before_anything_is_removed(
    write_mind: WriteMind, tmp_path: Path, place: str
) -> None:
    (tmp_path / "out" / "tiny" / place).mkdir(parents=True)
    (tmp_path / "out" / "tiny" / "tiny.train.inter").write_text("old")
    with pytest.raises(ConversionError, match="is a folder"):
        convert_mind(write_mind(), "tiny", output=tmp_path / "out")
    assert (tmp_path / "out" / "tiny" / "tiny.train.inter").read_text() == "old"


def test_a_broken_link_in_place_of_the_data_set_is_reported(
    write_mind: WriteMind, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tiny").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConversionError, match="is not a folder"):
        convert_mind(write_mind(), "tiny", output=tmp_path / "out")


def failing_lock(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("recbole_tinynews.files.locks.FileLock.acquire", fail)


def test_without_locks_a_conversion_warns_and_removes_no_leftovers(
    write_mind: WriteMind,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The leftovers may be what another conversion is writing."""
    failing_lock(monkeypatch, errno.ENOLCK)
    leftover = tmp_path / "out" / ".tiny.abcdefgh.partial"
    leftover.mkdir(parents=True)
    convert_mind(write_mind(), "tiny", output=tmp_path / "out")
    assert leftover.exists()
    assert "without locks" in caplog.text


def test_a_lock_that_fails_for_another_reason_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Continuing without it would let two conversions remove each other's files."""
    failing_lock(monkeypatch, errno.EIO)
    with (
        pytest.raises(ConversionError, match="Input/output error"),
        staged(tmp_path, ["a"]),
    ):
        pass


def test_a_conversion_waits_for_nobody(start: Start, tmp_path: Path) -> None:
    """Waiting in silence looks like a hang."""
    process = start()
    assert process.stdout.readline() == "in the middle\n"
    began = time.perf_counter()
    with pytest.raises(ConversionError):
        convert_mind(tmp_path / "train", "tiny", output=tmp_path / "out")
    assert time.perf_counter() - began < 5
