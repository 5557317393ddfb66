"""Split impressions by time, and files by masks of rows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.convert.atomic import INTER_HEADER
from recbole_tinynews.convert.errors import ConversionError
from recbole_tinynews.convert.timestamps import SECONDS_A_DAY, iso

_BATCH = 1 << 24


def last_day(timestamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask of the last UTC day; ``ConversionError`` if there is no earlier day."""
    days = timestamps // SECONDS_A_DAY
    latest = days == days.max()
    if latest.all():
        raise ConversionError(
            "--valid=last-day expects training impressions of at least two days, got only "
            f"{iso(int(timestamps[0]))[:10]}. Pass a fraction, such as --valid=0.1, or a folder."
        )
    return latest


def latest_fraction(timestamps: NDArray[np.int64], fraction: float) -> NDArray[np.bool_]:
    """Mask of the latest part, ties in file order; ``ConversionError`` if either part is empty."""
    count = round(len(timestamps) * fraction)
    if not 0 < count < len(timestamps):
        raise ConversionError(
            f"--valid={fraction} expects to leave impressions on both sides, got {count} of "
            f"{len(timestamps)} for validation. Pass another fraction or a folder."
        )
    latest = np.zeros(len(timestamps), dtype=bool)
    latest[np.argsort(timestamps, kind="stable")[-count:]] = True
    return latest


def latest(timestamps: NDArray[np.int64], valid: str | float) -> NDArray[np.bool_]:
    """Mask of the validation impressions: the last day, or the latest fraction."""
    return latest_fraction(timestamps, valid) if isinstance(valid, float) else last_day(timestamps)


def cut_rows(train: Path, valid: Path, into_valid: NDArray[np.bool_]) -> None:
    """Move the masked rows of an ``.inter`` to another file, in order."""
    whole = train.with_name(f"{train.name}.whole")
    train.replace(whole)
    copy_rows(whole, {train: ~into_valid, valid: into_valid})
    whole.unlink()


def copy_rows(inter: Path, marks: Mapping[Path, NDArray[np.bool_]]) -> None:
    """Copy the rows of an ``.inter`` to each file by its mask, ``[impressions]``, in order."""
    header = f"{INTER_HEADER}\n".encode()
    with ExitStack() as stack:
        rows = stack.enter_context(inter.open("rb"))
        files = {path: stack.enter_context(path.open("wb")) for path in marks}
        assert rows.readline() == header
        for file in files.values():
            file.write(header)
        start = 0
        while lines := rows.readlines(_BATCH):
            for path, file in files.items():
                marked = marks[path][start : start + len(lines)]
                file.writelines(compress(lines, marked.tolist()))
            start += len(lines)
