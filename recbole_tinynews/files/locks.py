"""Exclusive file locks of filelock; that of ``NAME`` is ``.NAME.lock`` beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path

from filelock import FileLock, Timeout


class LockHeldError(RuntimeError):
    """Another process holds the lock, and the caller does not wait."""


@contextmanager
def exclusive_lock(place: Path, work: str, wait: bool = True) -> Iterator[None]:
    """Hold the lock of ``place`` while ``work``, such as "writing it", is done; log any wait."""
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.with_name(f".{place.name}.lock"), poll_interval=0.02)
    try:
        lock.acquire(timeout=0.1)  # and not 0: a holder that ends removes the file that we opened
    except Timeout:
        busy = f"{place}: another process is already {work}."
        if not wait:
            raise LockHeldError(f"{busy} Wait until it ends, or name another place.") from None
        getLogger().info(f"{busy} Waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        with suppress(OSError):  # before the release, after which it may be another holder's
            Path(lock.lock_file).unlink()
        lock.release()
