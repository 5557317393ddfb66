"""Counting impressions: a few numbers of each, so that any part of a file can be summed up."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.convert.records import Impression
from recbole_tinynews.convert.timestamps import iso

_UNLABELLED = -1  # in place of the number of clicks


class Tally:
    """Numbers of each impression of a file, in order, and the news ids that it names."""

    def __init__(self) -> None:
        self.candidate_ids: set[str] = set()
        self.history_ids: set[str] = set()
        self._timestamps = array("q")
        self._lengths = array("i"), array("i"), array("i"), array("i")  # see add

    def add(self, impression: Impression) -> None:
        """Count one impression."""
        _, _, timestamp, history, candidates, labels = impression
        distinct = set(candidates)
        self.candidate_ids |= distinct
        self.history_ids.update(history)
        self._timestamps.append(timestamp)
        clicks = labels.count("1") if labels else _UNLABELLED
        numbers = (len(history), len(candidates), len(distinct), clicks)
        for column, number in zip(self._lengths, numbers, strict=True):
            column.append(number)

    @property
    def timestamps(self) -> NDArray[np.int64]:
        """UTC seconds, shape ``[impressions]``."""
        return np.array(self._timestamps, dtype=np.int64)

    def summary(self, part: NDArray[np.bool_] | slice = slice(None)) -> dict[str, Any]:
        """The section of the report about a part: a mask of shape ``[impressions]``, or all."""
        history, candidates, distinct, clicks = (
            np.frombuffer(column, dtype=np.int32)[part] for column in self._lengths
        )
        timestamps = np.frombuffer(self._timestamps, dtype=np.int64)[part]
        without_click, only_clicks = clicks == 0, clicks == candidates
        return {
            "impressions": len(timestamps),
            "candidates": int(candidates.sum(dtype=np.int64)),
            "clicks": int(clicks[clicks != _UNLABELLED].sum(dtype=np.int64)),
            "empty_histories": int((history == 0).sum()),
            "without_click": int(without_click.sum()),
            "only_clicks": int(only_clicks.sum()),
            "single_class": int((without_click | only_clicks).sum()),
            "unlabelled": int((clicks == _UNLABELLED).sum()),
            "with_repeated_candidates": int((distinct < candidates).sum()),
            "first_time": iso(int(timestamps.min())),
            "last_time": iso(int(timestamps.max())),
        }
