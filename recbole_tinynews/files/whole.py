"""Atomic writes: a file or folder gets its name only when it is complete.

It is written under a hidden name in the same folder, ``.NAME.<8 characters>.partial``, and then
renamed. An error removes the partial file; after a kill it stays.
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
from pathlib import Path

SUFFIX = ".partial"
OLD = 3600  # seconds: no partial file is written for so long without a change


@contextmanager
def partial_place(path: Path) -> Iterator[Path]:
    """An unused path in the folder of ``path``; what is left there at the end is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # random, since process ids of two machines that share a disk may be equal
    place = path.with_name(f".{path.name}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        yield place
    finally:
        remove(place)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, renamed to ``path`` at the end; an error leaves ``path`` unchanged."""
    with partial_place(path) as place:
        yield place
        os.replace(place, path)


@contextmanager
def whole_folder(path: Path, first_wins: bool = False) -> Iterator[Path]:
    """An empty folder to fill, renamed to ``path`` at the end.

    ``first_wins``: a folder that another process has created there meanwhile is kept, as its
    content is the same. Otherwise an existing folder is an error, unless it is empty.
    """
    with partial_place(path) as place:
        place.mkdir()
        yield place
        try:
            os.replace(place, path)
        except OSError:
            if not (first_wins and path.is_dir()):
                raise


@contextmanager
def resumable_file(path: Path) -> Iterator[Path]:
    """A path to write to, renamed at the end; an interruption keeps what was written.

    It is always the same one (``.NAME.partial``), so that the next writer can resume. Two writers
    would share it: hold a lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{path.name}{SUFFIX}")
    yield place
    os.replace(place, path)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8; a killed process leaves the old text or the new one."""
    with whole_file(path) as place:
        place.write_text(text, encoding="utf-8")


def check_writable(path: Path) -> None:
    """Write a file beside ``path`` and remove it again: what cannot be written is known at once.

    Old partial files of ``path`` are removed too.

    Raises:
        OSError: a file cannot be written there, or ``path`` is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with partial_place(path) as place:
        place.write_bytes(b"0")
    _remove_old(leftovers(path))


def leftovers(path: Path) -> list[Path]:
    """Partial files and folders of ``path``: left by killed processes, or being written now.

    While the caller holds the lock of ``path``, no running process is writing them.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}{re.escape(SUFFIX)}")
    return [place for place in path.parent.iterdir() if name.fullmatch(place.name)]


def all_partials(folder: Path) -> list[Path]:
    """Partial files and folders under ``folder``, at any depth, but not inside another one.

    Those that ``resumable_file`` resumes have no characters of their own, and are not among them.
    """
    name = re.compile(rf"\..+\.[a-z0-9_]{{8}}{re.escape(SUFFIX)}")
    found = [place for place in everything_under(folder) if name.fullmatch(place.name)]
    return [place for place in found if not any(p in found for p in place.parents)]


def everything_under(folder: Path) -> list[Path]:
    """Files and folders at any depth, sorted; not those that another process renames meanwhile.

    ``rglob`` raises when a folder gets another name between its being listed and its being read.
    """
    walked = os.walk(folder)
    return sorted(
        Path(parent, name) for parent, *names in walked for each in names for name in each
    )


def remove_old_partials(folder: Path) -> None:
    """Remove what killed processes have left under ``folder``, unless it was just written to.

    Another process may be writing, so a partial file has to be old.
    """
    _remove_old(all_partials(folder))


def _remove_old(places: Iterable[Path]) -> None:
    for place in places:
        if time.time() - _changed(place) > OLD:
            with suppress(OSError):  # read-only
                remove(place)


def _changed(place: Path) -> float:
    """When the file, or the newest file of the folder, was written to."""
    try:
        return max(each.stat().st_mtime for each in (place, *everything_under(place)))
    except OSError:  # it has just got its name
        return time.time()


def remove(place: Path) -> None:
    """Delete a file, or as much of a folder as possible; a missing one is no error."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
