"""File checksums, to detect damage that leaves files readable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from recbole_tinynews.files.array_cache import content_key


def checksums(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """Digests of the files by path relative to the folder."""
    return {file.relative_to(folder).as_posix(): content_key([file]) for file in sorted(files)}


def changed(folder: Path, known: Mapping[str, str]) -> list[str]:
    """Relative paths of files that are missing or have another digest."""
    return [
        name
        for name, digest in known.items()
        if not (folder / name).is_file() or content_key([folder / name]) != digest
    ]
