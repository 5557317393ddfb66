from __future__ import annotations

import errno
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from recbole_tinynews.files.whole import LockHeldError, exclusive_lock


def test_the_second_waits_for_the_first(tmp_path: Path, caplog) -> None:
    """Two processes that train one stage would write into one file."""
    order: list[str] = []
    inside, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with exclusive_lock(tmp_path / "new" / "place", "training it"):
            inside.set()
            may_end.wait(5)
            order.append("first")

    def second() -> None:
        with exclusive_lock(tmp_path / "new" / "place", "training it"):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    caplog.set_level("INFO")
    threads[0].start()
    assert inside.wait(5)
    threads[1].start()
    threads[1].join(0.5)
    assert order == []
    assert "another process is already training it. Waiting for it." in caplog.text
    may_end.set()
    for thread in threads:
        thread.join(5)
    assert order == ["first", "second"]
    assert list((tmp_path / "new").iterdir()) == []


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), exclusive_lock(tmp_path / "place", "work", wait=False):
            raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_two_holders_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    """A refused one leaves the lock alone: a third would find no file, and take it."""
    with exclusive_lock(tmp_path / "place", "working", wait=False):
        for _ in range(2):
            with (
                pytest.raises(LockHeldError, match="another process is already working"),
                exclusive_lock(tmp_path / "place", "working", wait=False),
            ):
                pass


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_files_of_a_killed_process_lock_nobody_out(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from recbole_tinynews.files.whole import exclusive_lock\n"
        "with exclusive_lock(Path(sys.argv[1]), 'working'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "place")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with exclusive_lock(tmp_path / "place", "working", wait=False):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="an open file can't be removed there")
def test_a_file_that_its_holder_removed_meanwhile_is_not_taken_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes would each lock a file of that name, and both run."""
    import fcntl

    flock, locked = fcntl.flock, []

    def late(file: int, operation: int) -> None:
        if not locked:
            (tmp_path / ".place.lock").unlink()
        locked.append(file)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with exclusive_lock(tmp_path / "place", "working", wait=False):
        assert (tmp_path / ".place.lock").exists()
        assert len(locked) >= 2
        with pytest.raises(LockHeldError), exclusive_lock(tmp_path / "place", "w", wait=False):
            pass


def test_a_lock_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, two processes would write into one file."""

    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(FileLock, "acquire", broken)
    with pytest.raises(OSError, match="Input/output"), exclusive_lock(tmp_path / "place", "w"):
        pass
