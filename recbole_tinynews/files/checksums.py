"""Checksums of the files of a folder, against damage that leaves a file readable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from recbole_tinynews.files.array_cache import content_key


def checksums(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """A digest of each file, by its path in the folder."""
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in sorted(files)}


def changed(folder: Path, known: Mapping[str, str]) -> list[str]:
    """Paths in the folder of files that are missing or have another digest."""
    return [
        name
        for name, digest in known.items()
        if not (folder / name).is_file() or file_digest(folder / name) != digest
    ]


def file_digest(file: Path) -> str:
    """A digest of a file's content, read again only if its size or time has changed."""
    status = file.stat()
    return _digest_of(file, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=1024)  # a run looks at a finished stage several times
def _digest_of(file: Path, *_status: int) -> str:
    return content_key([file])
