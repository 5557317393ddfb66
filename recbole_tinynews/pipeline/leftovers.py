"""Clean-up after killed runs."""

from __future__ import annotations

import shutil
from contextlib import suppress
from logging import getLogger
from pathlib import Path

from recbole_tinynews.files.locks import LockHeldError, exclusive_lock
from recbole_tinynews.files.whole import everything_under, remove_old_partials
from recbole_tinynews.pipeline.artifact import BEGUN, begun_on, was_finished


def remove_leftovers(folder: Path, content: str) -> None:
    """Remove unfinished stages of other contents of the data set, old partial files, and locks.

    A stage in training holds its lock; young partial files may be another process's.
    """
    for begun in sorted(folder.glob(f"*/{BEGUN}")):
        stage = begun.parent
        if was_finished(stage) or begun_on(stage) in (None, content):
            continue
        try:
            with exclusive_lock(stage, "training it", wait=False) as locked:
                if not locked:  # no locks on this disk: it may be in training
                    continue
                shutil.rmtree(stage, ignore_errors=True)
        except (LockHeldError, OSError):  # being trained, or read-only
            continue
        getLogger().info(f"{stage}, unfinished and of other data, was removed.")
    remove_old_partials(folder)
    for lock in (place for place in everything_under(folder) if place.match(".*.lock")):
        held = lock.with_name(lock.name.removeprefix(".").removesuffix(".lock"))
        # releasing a lock removes its file
        with suppress(LockHeldError, OSError), exclusive_lock(held, "removing it", wait=False):
            pass
