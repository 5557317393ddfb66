"""Arrays that all processes compute together, of which all map one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recbole_tinynews.files.array_cache import Arrays, cached_arrays, find_arrays
from recbole_tinynews.processes.group import exchange, here, local_rank


def made_together(
    folder: Path, name: str, key: str, make: Callable[[], Arrays], writable: bool = False
) -> Arrays:
    """``cached_arrays``, where ``make`` is work of all processes; each must call this.

    The first process of each machine writes the files.
    """
    if here().alone:
        return cached_arrays(folder, name, key, make, writable)
    found = find_arrays(folder, name, key, writable)
    everywhere = all(exchange(found is not None))
    if found is not None and everywhere:
        return found
    arrays = make()
    if local_rank() == 0:
        cached_arrays(folder, name, key, lambda: arrays)
    exchange(None)
    return find_arrays(folder, name, key, writable) or arrays  # if they could not be written
