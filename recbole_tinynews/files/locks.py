"""One process at a time at a place on disk; the system frees the lock however the work ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """Hold the lock beside ``place`` (``.name.lock``), after waiting for whoever holds it now.

    Whether the other process has made what was wanted is for the caller to look up again.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.with_name(f".{place.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        getLogger().info(f"Waiting for another process that makes {place}.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
