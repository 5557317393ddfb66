"""Arrays computed collectively and memory-mapped from one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recbole_tinynews.files.array_cache import Arrays, cached_arrays, find_arrays
from recbole_tinynews.processes.group import all_gather_object, local_rank, process_group


def shared_arrays(
    folder: Path, name: str, key: str, make: Callable[[], Arrays], writable: bool = False
) -> Arrays:
    """``cached_arrays``, made by all processes and written by the first of each machine."""
    if process_group().alone:
        return cached_arrays(folder, name, key, make, writable)
    found = find_arrays(folder, name, key, writable)
    everywhere = all(all_gather_object(found is not None))
    if found is not None and everywhere:
        return found
    arrays = make()
    if local_rank() == 0:
        cached_arrays(folder, name, key, lambda: arrays)
    all_gather_object(None)
    return find_arrays(folder, name, key, writable) or arrays  # where writing failed
