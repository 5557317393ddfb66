"""File checksums, to detect damage that leaves files readable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from recbole_tinynews.files.array_cache import content_key


def checksums(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """Digests of the files by path relative to the folder."""
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in sorted(files)}


def changed(folder: Path, known: Mapping[str, str]) -> list[str]:
    """Relative paths of files that are missing or have another digest."""
    return [
        name
        for name, digest in known.items()
        if not (folder / name).is_file() or file_digest(folder / name) != digest
    ]


def file_digest(file: Path) -> str:
    """Digest of a file's content, cached until size or time changes."""
    status = file.stat()
    return _digest_of(file, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=1024)  # finished stages are checked several times a run
def _digest_of(file: Path, *_status: int) -> str:
    return content_key([file])
