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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from logging import getLogger
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

T = TypeVar("T")
SUFFIX = ".partial"
OLD = 3600  # seconds without a change: abandoned
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name ``path`` in the error of a full disk; a library's in Rust becomes an ``OSError``."""
    try:
        yield
    except OSError as problem:
        if problem.errno in FULL_DISK and not problem.filename:  # as ``write`` leaves it
            problem.filename = str(path)
        raise
    except Exception as problem:
        if number := re.search(r"\(os error (\d+)\)", str(problem)):
            raise OSError(int(number[1]), str(problem), str(path)) from problem
        raise


@contextmanager
def partial_place(path: Path) -> Iterator[Path]:
    """An unused path beside ``path``, removed on exit if it exists; abandoned ones are removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for partial in leftovers(path):
        with suppress(OSError):  # renamed meanwhile, or read-only
            if time.time() - partial.stat().st_mtime > OLD:
                remove(partial)
    # random: machines that share a disk may have equal process ids
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        with naming(path):
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


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 atomically."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def check_writable(path: Path) -> None:
    """Raise ``OSError`` if a file can't be written to ``path``."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with partial_place(path) as partial:
        partial.write_bytes(b"0")


def check_new_or_empty(output: Path) -> None:
    """Raise ``FileExistsError`` for an ``--output`` that holds something."""
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise FileExistsError(f"--output={output} expects a folder that is new or empty.")


def leftovers(path: Path) -> list[Path]:
    """Partial files and folders of ``path``; unused while the caller holds its lock."""
    form = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}{re.escape(SUFFIX)}")
    return [other for other in path.parent.iterdir() if form.fullmatch(other.name)]


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


def made_once(
    path: Path, find: Callable[[], T | None], make: Callable[[], T], work: str, *unlocked: type
) -> T:
    """What ``find`` finds at ``path``, or ``make`` makes there: one process, the others wait.

    Errors ``unlocked`` of the lock do not matter.
    """
    # a process killed after its last write left its lock, which goes with ours
    left = path.with_name(f".{path.name}.lock").exists() and os.access(path.parent, os.W_OK)
    if (found := find()) is not None and not left:
        return found
    with ExitStack() as stack:
        with suppress(*unlocked):
            stack.enter_context(exclusive_lock(path, work))
        with naming(path):
            return found if (found := find()) is not None else make()
