"""Exclusive file locks, released by the operating system however the process ends.

The lock file of ``NAME`` is ``.NAME.lock`` beside it. The process id of the holder is in a separate
``.NAME.lock.pid``: some versions of filelock empty the lock file, and Windows blocks reading it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path

from filelock import FileLock, Timeout

PATIENCE = 0.1  # seconds until a retry: a holder that exits removes the file we opened
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class LockHeldError(RuntimeError):
    """Another process holds the lock, and the caller does not wait."""


@contextmanager
def exclusive_lock(place: Path, work: str, wait: bool = True) -> Iterator[bool]:
    """Hold the exclusive lock of ``place`` while ``work`` is done, such as "writing it".

    With ``wait``, wait for another holder and log that; check afterwards if the work is done.
    Otherwise raises ``LockHeldError``, which names it. Yields False, with a warning, on a file
    system without locks; raises ``OSError`` if the lock file can't be created.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.with_name(f".{place.name}.lock"))
    held = _acquire(lock, place, work, wait)
    if not held:
        getLogger().warning(
            f"{place} lies on a file system without locks: nothing keeps another process from "
            f"{work} at the same time. Start only one."
        )
    holder = Path(f"{lock.lock_file}.pid")
    try:
        if held:
            with suppress(OSError):  # optional, fails on a full disk
                holder.unlink(missing_ok=True)  # left by a killed holder
                holder.write_text(str(os.getpid()))
        yield held
    finally:
        # Before the release, after which they may be another holder's. Windows can't delete open
        # files; leftovers are harmless.
        for file in (holder, Path(lock.lock_file)):
            with suppress(OSError):
                file.unlink()
        lock.release()


def _acquire(lock: FileLock, place: Path, work: str, wait: bool) -> bool:
    """Whether the lock was acquired; False if the file system has none."""
    try:
        try:
            lock.acquire(timeout=PATIENCE, poll_interval=PATIENCE / 4)
        except Timeout:
            holder = _holder(lock)
            if not wait:
                raise LockHeldError(
                    f"{place}: another process{holder} is already {work}. Wait until it has "
                    "ended, or choose another name or folder."
                ) from None
            getLogger().info(f"{place}: waiting for another process{holder}, which is {work}.")
            lock.acquire()
    except NotImplementedError:  # older versions of filelock
        return False
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            return False
        raise
    return True


def _holder(lock: FileLock) -> str:
    try:
        pid = Path(f"{lock.lock_file}.pid").read_text()
    except (OSError, ValueError):
        return ""
    return f" ({pid})" if pid.isdigit() else ""
