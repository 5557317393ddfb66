from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from recbole_tinynews.files import locks
from recbole_tinynews.files.locks import LockHeldError, exclusive_lock


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
    assert f"waiting for another process ({os.getpid()}), which is training it" in caplog.text
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
    with (
        exclusive_lock(tmp_path / "place", "working", wait=False),
        pytest.raises(LockHeldError, match=rf"process \({os.getpid()}\) is already working"),
        exclusive_lock(tmp_path / "place", "working", wait=False),
    ):
        pass


def test_a_refused_process_leaves_the_holders_lock_alone(tmp_path: Path) -> None:
    """A third process would find no lock file and no name, and take the lock."""
    with exclusive_lock(tmp_path / "place", "working", wait=False):
        for _ in range(2):
            with (
                pytest.raises(LockHeldError, match=rf"\({os.getpid()}\)"),
                exclusive_lock(tmp_path / "place", "working", wait=False),
            ):
                pass


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_files_of_a_killed_process_lock_nobody_out(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from recbole_tinynews.files.locks import exclusive_lock\n"
        "with exclusive_lock(Path(sys.argv[1]), 'working'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "place")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    with exclusive_lock(tmp_path / "place", "working", wait=False) as held:
        assert held
        assert (tmp_path / ".place.lock.pid").read_text() == str(os.getpid())
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


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOLCK, ""), OSError(errno.EOPNOTSUPP, ""), NotImplementedError()],
    ids=["ENOLCK", "EOPNOTSUPP", "not implemented"],
)
def test_a_file_system_without_locks_warns_and_says_that_nothing_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog, error: Exception
) -> None:
    """A cluster's file system may have none, and the package must work there."""

    def unsupported(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", unsupported)
    with exclusive_lock(tmp_path / "place", "training it") as held:
        assert not held
    assert "without locks" in caplog.text


def test_a_lock_that_fails_for_another_reason_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(FileLock, "acquire", broken)
    with pytest.raises(OSError, match="Input/output"), exclusive_lock(tmp_path / "place", "w"):
        pass


def test_a_full_disk_locks_without_a_name(tmp_path: Path, monkeypatch) -> None:
    """The second process is still refused, without the holder's name."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(locks.Path, "write_text", full)
    with (
        exclusive_lock(tmp_path / "place", "working", wait=False),
        pytest.raises(LockHeldError, match="another process is already working"),
        exclusive_lock(tmp_path / "place", "working", wait=False),
    ):
        pass
