"""Split validation impressions off the training impressions, by time."""

from __future__ import annotations

from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.convert.atomic import INTER_HEADER
from recbole_tinynews.convert.errors import ConversionError
from recbole_tinynews.convert.timestamps import SECONDS_A_DAY, iso

_BATCH = 1 << 24


def last_day(timestamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Marks the impressions of the last calendar day, UTC.

    Raises:
        ConversionError: there is no earlier day to train on.
    """
    days = timestamps // SECONDS_A_DAY
    latest = days == days.max()
    if latest.all():
        raise ConversionError(
            "--valid=last-day expects training impressions of at least two days, got only "
            f"{iso(int(timestamps[0]))[:10]}. Pass a fraction, such as --valid=0.1, or a folder."
        )
    return latest


def latest_fraction(timestamps: NDArray[np.int64], fraction: float) -> NDArray[np.bool_]:
    """Marks the latest part by time; of equal times those further down the file are later.

    Raises:
        ConversionError: one of the two parts would be empty.
    """
    count = round(len(timestamps) * fraction)
    if not 0 < count < len(timestamps):
        raise ConversionError(
            f"--valid={fraction} expects to leave impressions on both sides, got {count} of "
            f"{len(timestamps)} for validation. Pass another fraction or a folder."
        )
    latest = np.zeros(len(timestamps), dtype=bool)
    latest[np.argsort(timestamps, kind="stable")[-count:]] = True
    return latest


def cut_rows(train: Path, valid: Path, into_valid: NDArray[np.bool_]) -> None:
    """Move the marked rows of an ``.inter`` to another, the order kept on both sides."""
    rest = train.with_name(f"{train.name}.rest")
    header = f"{INTER_HEADER}\n".encode()
    with train.open("rb") as rows, rest.open("wb") as stay, valid.open("wb") as go:
        assert rows.readline() == header
        stay.write(header)
        go.write(header)
        start = 0
        while lines := rows.readlines(_BATCH):
            marks = into_valid[start : start + len(lines)]
            go.writelines(compress(lines, marks.tolist()))
            stay.writelines(compress(lines, (~marks).tolist()))
            start += len(lines)
    rest.replace(train)
