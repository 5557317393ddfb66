"""Atomic writes: ``.NAME.<8 characters>.partial``, left by a kill, is renamed when complete.

Exclusive locks of filelock; that of ``NAME`` is ``.NAME.lock`` beside it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path

from filelock import FileLock, Timeout

SUFFIX = ".partial"
OLD = 3600  # seconds without a change: abandoned


@contextmanager
def partial_place(path: Path) -> Iterator[Path]:
    """An unused path beside ``path``, removed on exit if it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # random: machines that share a disk may have equal process ids
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        yield partial
    finally:
        remove(partial)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write, renamed to ``path`` on success; an error leaves ``path`` unchanged."""
    with partial_place(path) as partial:
        yield partial
        os.replace(partial, path)


@contextmanager
def whole_folder(path: Path, first_wins: bool = False) -> Iterator[Path]:
    """An empty folder to fill, renamed to ``path`` on success; ``first_wins`` keeps another's."""
    with partial_place(path) as partial:
        partial.mkdir()
        yield partial
        try:
            os.replace(partial, path)
        except OSError:
            if not (first_wins and path.is_dir()):
                raise


@contextmanager
def resumable_file(path: Path) -> Iterator[Path]:
    """Like ``whole_file``, but an interruption keeps ``.NAME.partial`` to resume; hold a lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{SUFFIX}")
    yield partial
    os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 atomically."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def check_writable(path: Path) -> None:
    """Raise ``OSError`` if a file can't be written to ``path``; remove its old partial files."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with partial_place(path) as partial:
        partial.write_bytes(b"0")
    _remove_old(leftovers(path))


def is_new_or_empty(folder: Path) -> bool:
    """Whether a folder can be written without losing anything."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def check_new_or_empty(output: Path) -> None:
    """Raise ``FileExistsError`` for an ``--output`` that holds something."""
    if not is_new_or_empty(output):
        raise FileExistsError(f"--output={output} expects a folder that is new or empty.")


def leftovers(path: Path) -> list[Path]:
    """Partial files and folders of ``path``; unused while the caller holds its lock."""
    return _partials(re.escape(path.name), path.parent.iterdir())


def all_partials(folder: Path) -> list[Path]:
    """Outermost partial files and folders under ``folder``, except those of ``resumable_file``."""
    partials = _partials(".+", everything_under(folder))
    return [path for path in partials if not any(parent in partials for parent in path.parents)]


def _partials(name: str, paths: Iterable[Path]) -> list[Path]:
    form = re.compile(rf"\.{name}\.[a-z0-9_]{{8}}{re.escape(SUFFIX)}")
    return [path for path in paths if form.fullmatch(path.name)]


def everything_under(folder: Path) -> list[Path]:
    """Files and folders at any depth, sorted; unlike ``rglob``, tolerates concurrent renames."""
    return sorted(
        Path(parent, name)
        for parent, *kinds in os.walk(folder)
        for names in kinds
        for name in names
    )


def remove_old_partials(folder: Path) -> None:
    """Remove old partial files under ``folder``, left by killed processes."""
    _remove_old(all_partials(folder))


def _remove_old(partials: Iterable[Path]) -> None:
    for partial in partials:
        with suppress(OSError):  # renamed meanwhile, or read-only
            times = [path.stat().st_mtime for path in (partial, *everything_under(partial))]
            if time.time() - max(times) > OLD:
                remove(partial)


def remove(path: Path) -> None:
    """Delete a file, or as much of a folder as possible, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class LockHeldError(RuntimeError):
    """Another process holds the lock, and the caller does not wait."""


@contextmanager
def exclusive_lock(path: Path, work: str, wait: bool = True) -> Iterator[None]:
    """Hold the lock of ``path`` while ``work``, such as "writing it", is done; log any wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"), poll_interval=0.02)
    try:
        lock.acquire(timeout=0.1)  # and not 0: a holder that ends removes the file that we opened
    except Timeout:
        busy = f"{path}: another process is already {work}."
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
