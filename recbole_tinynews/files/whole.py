"""Atomic writes: ``.NAME.<8 characters>.partial``, left by a kill, is renamed when complete."""

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
OLD = 3600  # seconds without a change: abandoned


@contextmanager
def partial_place(path: Path) -> Iterator[Path]:
    """An unused path beside ``path``, removed on exit if it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # random: machines that share a disk may have equal process ids
    place = path.with_name(f".{path.name}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        yield place
    finally:
        remove(place)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write, renamed to ``path`` on success; an error leaves ``path`` unchanged."""
    with partial_place(path) as place:
        yield place
        os.replace(place, path)


@contextmanager
def whole_folder(path: Path, first_wins: bool = False) -> Iterator[Path]:
    """An empty folder to fill, renamed to ``path`` on success; ``first_wins`` keeps another's."""
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
    """Like ``whole_file``, but an interruption keeps ``.NAME.partial`` to resume; hold a lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{path.name}{SUFFIX}")
    yield place
    os.replace(place, path)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 atomically."""
    with whole_file(path) as place:
        place.write_text(text, encoding="utf-8")


def check_writable(path: Path) -> None:
    """Raise ``OSError`` if a file can't be written to ``path``; remove its old partial files."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with partial_place(path) as place:
        place.write_bytes(b"0")
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
    name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}{re.escape(SUFFIX)}")
    return [place for place in path.parent.iterdir() if name.fullmatch(place.name)]


def all_partials(folder: Path) -> list[Path]:
    """Outermost partial files and folders under ``folder``, except those of ``resumable_file``."""
    name = re.compile(rf"\..+\.[a-z0-9_]{{8}}{re.escape(SUFFIX)}")
    found = [place for place in everything_under(folder) if name.fullmatch(place.name)]
    return [place for place in found if not any(p in found for p in place.parents)]


def everything_under(folder: Path) -> list[Path]:
    """Files and folders at any depth, sorted; unlike ``rglob``, tolerates concurrent renames."""
    walked = os.walk(folder)
    return sorted(
        Path(parent, name) for parent, *kinds in walked for kind in kinds for name in kind
    )


def remove_old_partials(folder: Path) -> None:
    """Remove old partial files under ``folder``, left by killed processes."""
    _remove_old(all_partials(folder))


def _remove_old(places: Iterable[Path]) -> None:
    for place in places:
        if time.time() - _changed(place) > OLD:
            with suppress(OSError):  # read-only
                remove(place)


def _changed(place: Path) -> float:
    try:
        return max(each.stat().st_mtime for each in (place, *everything_under(place)))
    except OSError:  # renamed meanwhile
        return time.time()


def remove(place: Path) -> None:
    """Delete a file, or as much of a folder as possible, if it exists."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
