"""Counts per impression, from which any part of a file is summarised, and splits by time."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.convert.atomic import INTER_HEADER
from recbole_tinynews.convert.errors import ConversionError
from recbole_tinynews.convert.records import Impression
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


_UNLABELLED = -1  # stored as the number of clicks


class Tally:
    """Counts of each impression of a file, in file order, and the news ids in it."""

    def __init__(self) -> None:
        self.candidate_ids: set[str] = set()
        self.history_ids: set[str] = set()
        self._timestamps, self._displays = array("q"), array("q")
        self._counts = array("i")  # history, candidates, distinct candidates, clicks

    def add(self, impression: Impression) -> None:
        """Count an impression."""
        _, user, timestamp, history, candidates, labels = impression
        distinct = frozenset(candidates)
        self.candidate_ids |= distinct
        self.history_ids.update(history)
        self._timestamps.append(timestamp)
        self._displays.append(hash((user, timestamp, distinct)))
        clicks = labels.count("1") if labels else _UNLABELLED
        self._counts.extend((len(history), len(candidates), len(distinct), clicks))

    @property
    def timestamps(self) -> NDArray[np.int64]:
        """UTC seconds, ``[impressions]``."""
        return np.frombuffer(self._timestamps, np.int64)

    @property
    def displays(self) -> NDArray[np.int64]:
        """Hashes of (user, time, candidate set), ``[impressions]``."""
        return np.frombuffer(self._displays, np.int64)

    @property
    def counts(self) -> NDArray[np.int32]:
        """Numbers of history, candidates, distinct candidates and clicks: ``[impressions, 4]``."""
        return np.frombuffer(self._counts, np.int32).reshape(-1, 4)


class Part(NamedTuple):
    """The impressions of a split: those of a tally selected by a mask, ``[impressions]``."""

    tally: Tally
    mask: NDArray[np.bool_] | slice = slice(None)

    @property
    def timestamps(self) -> NDArray[np.int64]:
        """UTC seconds of the selected impressions."""
        return self.tally.timestamps[self.mask]

    @property
    def displays(self) -> NDArray[np.int64]:
        """Hashes of (user, time, candidate set) of the selected impressions."""
        return self.tally.displays[self.mask]

    @property
    def clicks(self) -> NDArray[np.int32]:
        """Number of clicks per selected impression, 0 if unlabelled."""
        return self.tally.counts[self.mask, 3].clip(0)

    @property
    def labelled(self) -> bool:
        """Whether every impression is labelled."""
        return bool((self.tally.counts[self.mask, 3] != _UNLABELLED).all())

    def summary(self) -> dict[str, Any]:
        """Report section on these impressions."""
        history, candidates, distinct, clicks = self.tally.counts[self.mask].T
        without_click, only_clicks = clicks == 0, clicks == candidates
        return {
            "impressions": len(clicks),
            "candidates": int(candidates.sum(dtype=np.int64)),
            "clicks": int(clicks[clicks != _UNLABELLED].sum(dtype=np.int64)),
            "empty_histories": int((history == 0).sum()),
            "without_click": int(without_click.sum()),
            "only_clicks": int(only_clicks.sum()),
            "single_class": int((without_click | only_clicks).sum()),
            "unlabelled": int((clicks == _UNLABELLED).sum()),
            "with_repeated_candidates": int((distinct < candidates).sum()),
            "first_time": iso(int(self.timestamps.min())),
            "last_time": iso(int(self.timestamps.max())),
        }
