"""Digests of files, an on-disk cache of arrays keyed by them, and arrays larger than memory."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from logging import getLogger
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.files.whole import leftovers, made_once, remove, whole_folder

Arrays = dict[str, NDArray]

NAMES = "names.json"  # names and digests of a folder's arrays
TABLE = "table"  # name of the only array of some folders
WORK = "computing it"  # of a process that others wait for
_BLOCK = 1 << 20  # bytes to read, values to copy at once


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
        while block := file.read(_BLOCK):
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
    path = folder / f"{name}-{key}"

    def write() -> Arrays:
        arrays = make()
        try:
            with whole_folder(path, first_wins=True) as unfinished:
                for each, array in arrays.items():
                    np.save(unfinished / f"{each}.npy", array, allow_pickle=False)
                _write_names(unfinished, arrays)
            return _mapped(path, arrays, writable)
        except OSError as problem:
            getLogger().warning(f"{path} cannot be written, so nothing is cached: {problem}")
        return arrays

    # a read-only folder needs no lock
    return made_once(path, lambda: find_arrays(folder, name, key, writable), write, WORK, OSError)


def cached_table(
    folder: Path,
    name: str,
    key: str,
    shape: tuple[int, ...],
    dtype: Any,
    fill: Callable[[NDArray[Any]], object],
) -> NDArray[Any]:
    """One array that may not fit into memory: ``fill`` writes into its file, which has zeros.

    Copy-on-write, and otherwise as ``cached_arrays``; ``OSError`` if the disk cannot hold it.
    """
    path = folder / f"{name}-{key}"

    def write() -> Arrays:
        for partial in leftovers(path):  # of a killed process, which may be large
            remove(partial)
        with whole_folder(path) as unfinished:
            file = unfinished / f"{TABLE}.npy"
            table = np.lib.format.open_memmap(file, "w+", dtype, shape)
            _reserve(file)
            fill(table)
            table.flush()
            _write_names(unfinished, [TABLE])
        return _mapped(path, [TABLE], writable=True)

    found = made_once(path, lambda: find_arrays(folder, name, key, writable=True), write, WORK)
    return found[TABLE]


def _reserve(file: Path) -> None:
    """Reserve the disk space: a write into a mapped file on a full disk kills the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    size = file.stat().st_size
    try:
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, size)
    except OSError as problem:
        if problem.errno == errno.ENOSPC:  # else the file system cannot reserve
            raise OSError(
                errno.ENOSPC,
                f"{file.parent.parent} expects room for a table of {size / 1e9:.1f} GB, and the "
                "disk is full. Make room, or, for hidden states, set use_cache=false",
            ) from problem


def find_arrays(folder: Path, name: str, key: str, writable: bool = False) -> Arrays | None:
    """The cached arrays, or None; damaged ones are deleted."""
    path = folder / f"{name}-{key}"
    if not path.is_dir():
        return None
    try:
        digests = json.loads((path / NAMES).read_text())
        if damaged := changed(path, digests):
            raise ValueError(f"{damaged[0]} was changed after it was written")
        return _mapped(path, [name.removesuffix(".npy") for name in digests], writable)
    except (OSError, ValueError, AttributeError) as problem:  # AttributeError: no digests by name
        getLogger().warning(f"{path} cannot be read and is recomputed: {problem}")
        shutil.rmtree(path, ignore_errors=True)
        return None


def _mapped(path: Path, names: Iterable[str], writable: bool) -> Arrays:
    mode: Literal["c", "r"] = "c" if writable else "r"
    return {
        name: np.load(path / f"{name}.npy", mmap_mode=mode, allow_pickle=False) for name in names
    }


def _write_names(folder: Path, names: Iterable[str]) -> None:
    digests = checksums(folder, [folder / f"{name}.npy" for name in names])
    (folder / NAMES).write_text(json.dumps(digests))


class GrowingArray:
    """A flat array in an unnamed file, which disappears with the process, however that ends.

    The file is in ``folder`` if that is writable, else in the system's temporary folder.
    """

    def __init__(self, folder: Path | None, start: NDArray[Any]) -> None:
        self._folder, self._dtype, self._length = folder, start.dtype, 0
        self._file = _unnamed_file(folder)
        self.append(start)

    def append(self, block: NDArray[Any]) -> None:
        """Add values of the same type; strings may be longer than those before."""
        if block.dtype.itemsize > self._dtype.itemsize:
            narrow = self.array()
            self._file, self._dtype, self._length = _unnamed_file(self._folder), block.dtype, 0
            for start in range(0, len(narrow), _BLOCK):
                self._write(narrow[start : start + _BLOCK])
        self._write(block)

    def array(self) -> NDArray[Any]:
        """All values, memory-mapped."""
        self._file.flush()
        if not self._length:
            return np.empty(0, self._dtype)
        return np.memmap(self._file, self._dtype, "r", shape=(self._length,))

    def _write(self, block: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(block, self._dtype).data.cast("B"))
        self._length += len(block)


def _unnamed_file(folder: Path | None) -> IO[bytes]:
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError:
        return tempfile.TemporaryFile()
