"""Digests of files, and an on-disk cache of arrays, keyed by a digest of their inputs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from functools import lru_cache
from logging import getLogger
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.files.locks import exclusive_lock
from recbole_tinynews.files.whole import whole_folder

Arrays = dict[str, NDArray]

NAMES = "names.json"  # names and digests of a folder's arrays


def content_key(parts: Iterable[str | bytes | Path]) -> str:
    """Digest of the inputs of a cached result; a path stands for the file's content.

    A file is read once, until its size, times or place on the disk change.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            status = part.stat()
            changes = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
            of_part = _file_digest(part, *changes)
        else:
            of_part = hashlib.sha256(part.encode() if isinstance(part, str) else part).digest()
        digest.update(of_part)  # fixed length: unambiguous boundaries between parts
    return digest.hexdigest()[:24]


@lru_cache(maxsize=1024)  # finished stages are checked several times a run
def _file_digest(path: Path, *_status: int) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()


def checksums(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """Digests of the files by relative path, to detect damage that leaves them readable."""
    return {file.relative_to(folder).as_posix(): content_key([file]) for file in sorted(files)}


def changed(folder: Path, known: Mapping[str, str]) -> list[str]:
    """Relative paths of files that are missing or have another digest."""
    return [
        name
        for name, digest in known.items()
        if not (folder / name).is_file() or content_key([folder / name]) != digest
    ]


def cached_arrays(
    folder: Path | None, name: str, key: str, make: Callable[[], Arrays], writable: bool = False
) -> Arrays:
    """The arrays of ``make``, memory-mapped from ``folder/name-key`` if cached there.

    ``writable`` arrays are copy-on-write; ``folder=None`` disables the cache. Files that cannot be
    read or written only cause a warning. One process computes, the others wait.
    """
    if folder is None:
        return make()
    found = find_arrays(folder, name, key, writable)
    if found is not None:
        return found
    place = folder / f"{name}-{key}"
    with ExitStack() as stack:
        with suppress(OSError):  # read-only folder: no lock needed
            stack.enter_context(exclusive_lock(place, "computing it"))
        found = find_arrays(folder, name, key, writable)  # another process may have computed it
        if found is not None:
            return found
        arrays = make()
        try:
            _write(place, arrays)
            return _mapped(place, arrays, writable)
        except OSError as problem:
            getLogger().warning(f"{place} cannot be written, so nothing is cached: {problem}")
    return arrays


def find_arrays(folder: Path, name: str, key: str, writable: bool = False) -> Arrays | None:
    """The cached arrays, or None; damaged ones are deleted."""
    place = folder / f"{name}-{key}"
    if not place.is_dir():
        return None
    try:
        return _read(place, writable)
    except (OSError, ValueError, EOFError) as problem:  # EOFError: numpy, on an empty file
        getLogger().warning(f"{place} cannot be read and is recomputed: {problem}")
        shutil.rmtree(place, ignore_errors=True)
        return None


def _read(place: Path, writable: bool) -> Arrays:
    digests = json.loads((place / NAMES).read_text())
    if not isinstance(digests, dict):
        raise ValueError(f"{NAMES} of an earlier version has no digests")
    for name, digest in digests.items():
        if content_key([place / f"{name}.npy"]) != digest:
            raise ValueError(f"{name}.npy was changed after it was written")
    return _mapped(place, digests, writable)


def _mapped(place: Path, names: Iterable[str], writable: bool) -> Arrays:
    mode: Literal["c", "r"] = "c" if writable else "r"
    return {
        name: np.load(place / f"{name}.npy", mmap_mode=mode, allow_pickle=False) for name in names
    }


def _write(place: Path, arrays: Arrays) -> None:
    with whole_folder(place, first_wins=True) as folder:
        digests = {}
        for name, array in arrays.items():
            file = folder / f"{name}.npy"
            np.save(file, array, allow_pickle=False)
            digests[name] = content_key([file])
        (folder / NAMES).write_text(json.dumps(digests))
