"""What killed runs leave in the folder of a data set, and the next one removes."""

from __future__ import annotations

import json
import shutil
import time
from logging import getLogger
from pathlib import Path

from recbole_tinynews.files.locks import LockHeldError, exclusive_lock
from recbole_tinynews.files.whole import all_partials, remove, write_text
from recbole_tinynews.pipeline.artifact import METRICS_FILE

BEGUN = "begun.json"  # in the folder of an unfinished stage: the data set that it is trained on
OLD = 3600  # seconds: no file is written for so long without a change


def mark_begun(folder: Path, content: str) -> None:
    """Note which data set an unfinished stage is trained on, by its digest."""
    write_text(folder / BEGUN, json.dumps({"data_set": content}))


def remove_leftovers(folder: Path, content: str) -> None:
    """Remove unfinished stages of a data set that has changed since, and old partial files.

    Such a stage would never be resumed: its fingerprint has changed with the data. Another process
    may be writing, so a partial file has to be old, and an unfinished stage not locked.

    Args:
        folder: of all stages of the data set.
        content: digest of the data set as it is now.
    """
    for begun in sorted(folder.glob(f"*/{BEGUN}")):
        stage = begun.parent
        if (stage / METRICS_FILE).is_file() or _data_set(begun) in (None, content):
            continue
        try:
            with exclusive_lock(stage, "training it", wait=False):
                shutil.rmtree(stage, ignore_errors=True)
        except (LockHeldError, OSError):  # being trained, or read-only
            continue
        getLogger().info(f"{stage}, unfinished and of other data, was removed.")
    for place in all_partials(folder):
        if time.time() - _changed(place) > OLD:
            remove(place)


def _data_set(begun: Path) -> str | None:
    try:
        return json.loads(begun.read_text(encoding="utf-8"))["data_set"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _changed(place: Path) -> float:
    """When the file, or the newest file of the folder, was written to."""
    try:
        return max(each.stat().st_mtime for each in (place, *place.rglob("*")))
    except OSError:  # it has just got its name
        return time.time()
