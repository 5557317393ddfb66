"""A lock file that dies with its process, so that no crash leaves a door shut."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recbole_tinynews.convert.errors import ConversionError

_BUSY = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_AREA = 1 << 20  # Windows also forbids reading what is locked: lock far behind the holder's name

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, _AREA, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(path: Path, work: str) -> Iterator[bool]:
    """Hold ``path`` as a lock while ``work`` is done; the system frees it however that ends.

    Yields False on a file system without locks, where nothing keeps a second process away.

    Raises:
        ConversionError: another process holds it; the message says which.
        OSError: the file can't be made.
    """
    file, held = _acquire(path, work)
    try:
        yield held
    finally:
        with suppress(OSError):  # Windows keeps an open file; one that nobody holds does no harm
            path.unlink()
        os.close(file)


def _acquire(path: Path, work: str) -> tuple[int, bool]:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            held = _try_lock(file)
            if held is None:
                raise ConversionError(
                    f"{path}: another process{_holder(file)} is already at {work}. Wait until it "
                    "has ended, or choose another name or folder."
                )
            if _is_at(file, path):
                _sign(file)
                return file, held
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its holder removed it in between: what we locked has no name any more


def _try_lock(file: int) -> bool | None:
    """True: locked; False: this file system can't; None: somebody else has it."""
    try:
        _lock(file)
    except OSError as error:
        if error.errno in _BUSY:
            return None
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _sign(file: int) -> None:
    with suppress(OSError):  # a full disk: the lock holds without a name in it
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, str(os.getpid()).encode())


def _holder(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    pid = os.read(file, 20)
    return f" ({pid.decode()})" if pid.isdigit() else ""
