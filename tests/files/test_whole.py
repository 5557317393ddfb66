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

from recbole_tinynews.files.whole import (
    LockHeldError,
    check_writable,
    exclusive_lock,
    leftovers,
    made_once,
    remove,
    whole_file,
    whole_folder,
    write_text,
)


class Killed(BaseException):
    """An interruption that no ``except Exception`` catches."""


def interrupt(place: Path, error: type[BaseException] = Killed) -> None:
    """Write half of a file or folder, then raise the error."""
    (place / "one" if place.is_dir() else place).write_text("half")
    raise error


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    """Another process would read half of the file as if it were complete."""
    place = tmp_path / "deep" / "result.json"
    write_text(place, "first")
    with whole_file(place) as partial:
        partial.write_text("second")
        assert place.read_text() == "first"
    assert place.read_text() == "second"
    assert names(place.parent) == ["result.json"]


@pytest.mark.parametrize("error", [OSError, Killed])
def test_a_failed_write_leaves_the_former_file_and_nothing_else(tmp_path: Path, error) -> None:
    place = tmp_path / "result.json"
    write_text(place, "first")
    with pytest.raises(error), whole_file(place) as partial:
        interrupt(partial, error)
    assert place.read_text() == "first"
    assert names(tmp_path) == ["result.json"]


def test_a_folder_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    """A folder with some of its files would be read as complete."""
    place = tmp_path / "deep" / "state"
    with pytest.raises(Killed), whole_folder(place) as partial:
        interrupt(partial)
    assert names(place.parent) == []
    with whole_folder(place) as partial:
        (partial / "one").write_text("all")
        assert not place.exists()
    assert (place / "one").read_text() == "all"
    assert names(place.parent) == ["state"]


def test_an_existing_folder_is_kept_where_the_first_wins(tmp_path: Path) -> None:
    """When two runs finish at once, the slower one must neither fail nor delete the other's."""

    def write_late(first_wins: bool) -> None:
        with whole_folder(tmp_path / "cache", first_wins) as partial:
            (partial / "one").write_text("second")
            if not (tmp_path / "cache").exists():
                (tmp_path / "cache").mkdir()
                (tmp_path / "cache" / "one").write_text("first")

    write_late(first_wins=True)
    with pytest.raises(OSError, match=r"cache"):
        write_late(first_wins=False)
    assert (tmp_path / "cache" / "one").read_text() == "first"
    assert names(tmp_path) == ["cache"]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    """Otherwise nothing would be cached, silently."""
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(OSError, match="cache"), whole_folder(tmp_path / "cache", first_wins=True):
        pass
    assert (tmp_path / "cache").read_text() == "mine"


def test_leftovers_of_a_kill_are_recognised_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``tiny`` is the beginning of ``tiny.b``, which another process may be writing."""
    other = (".tiny.b.abcdefgh.partial", ".tiny.abcdefgh.partial.mine", ".tinyXabcdefgh.partial")
    for name in (*other, "tiny"):
        (tmp_path / name).mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("recbole_tinynews.files.whole.remove", lambda place: None)  # killed before
        with pytest.raises(Killed), whole_folder(tmp_path / "tiny") as folder:
            interrupt(folder)
        with pytest.raises(Killed), whole_file(tmp_path / "tiny") as file:
            interrupt(file)
    assert sorted(leftovers(tmp_path / "tiny")) == sorted([folder, file])
    for place in leftovers(tmp_path / "tiny"):
        remove(place)
    assert names(tmp_path) == sorted([*other, "tiny"])


def test_old_leftovers_are_removed_when_the_same_is_written_again(tmp_path: Path) -> None:
    """Each kill would leave another one; a new one may be another process's."""
    places = [tmp_path / f".result.json.0123abc{end}.partial" for end in "de"]
    for place in places:
        place.touch()
    os.utime(places[0], (0, 0))
    check_writable(tmp_path / "result.json")
    assert names(tmp_path) == [places[1].name]
    os.utime(places[1], (0, 0))
    write_text(tmp_path / "result.json", "")
    assert names(tmp_path) == ["result.json"]


def test_others_may_read_it_as_they_may_read_any_file_or_folder(tmp_path: Path) -> None:
    """With a private folder in a shared checkpoint_dir, each colleague would compute it again."""
    with whole_folder(tmp_path / "folder"):
        pass
    write_text(tmp_path / "file", "")
    (tmp_path / "usual").mkdir()
    (tmp_path / "usual file").touch()
    modes = {name: os.stat(tmp_path / name).st_mode for name in names(tmp_path)}
    assert modes["folder"] == modes["usual"]
    assert modes["file"] == modes["usual file"]


def test_the_second_waits_for_the_first(tmp_path: Path, caplog) -> None:
    """Two processes that train one stage would write into one file."""
    order, place = [], tmp_path / "new" / "place"

    def second() -> None:
        with exclusive_lock(place, "training it"):
            order.append("second")

    thread = threading.Thread(target=second)
    caplog.set_level("INFO")
    with exclusive_lock(place, "training it"):
        thread.start()
        thread.join(0.5)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
    assert "another process is already training it. Waiting for it." in caplog.text
    assert list((tmp_path / "new").iterdir()) == []


def test_two_holders_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    """A refused one leaves the lock alone: a third would find no file, and take it."""
    with pytest.raises(KeyError), exclusive_lock(tmp_path / "place", "work", wait=False):
        raise KeyError
    assert list(tmp_path.iterdir()) == []  # free again after the error
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
    with pytest.raises(OSError, match="Input/output"):
        made_once(tmp_path / "place", lambda: None, lambda: "made", "making it")
    assert made_once(tmp_path / "place", lambda: None, lambda: "made", "making it", OSError)
