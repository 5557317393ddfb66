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
        self._numbers = array("q")  # five of each impression, see add

    def add(self, impression: Impression) -> None:
        """Count one impression."""
        _, _, timestamp, history, candidates, labels = impression
        distinct = set(candidates)
        self.candidate_ids |= distinct
        self.history_ids.update(history)
        clicks = labels.count("1") if labels else _UNLABELLED
        self._numbers.extend((timestamp, len(history), len(candidates), len(distinct), clicks))

    @property
    def timestamps(self) -> NDArray[np.int64]:
        """UTC seconds, shape ``[impressions]``."""
        return self._columns()[:, 0]

    def summary(self, part: NDArray[np.bool_] | slice = slice(None)) -> dict[str, Any]:
        """The section of the report about a part: a mask of shape ``[impressions]``, or all."""
        timestamps, history, candidates, distinct, clicks = self._columns()[part].T
        without_click, only_clicks = clicks == 0, clicks == candidates
        return {
            "impressions": len(timestamps),
            "candidates": int(candidates.sum()),
            "clicks": int(clicks[clicks != _UNLABELLED].sum()),
            "empty_histories": int((history == 0).sum()),
            "without_click": int(without_click.sum()),
            "only_clicks": int(only_clicks.sum()),
            "single_class": int((without_click | only_clicks).sum()),
            "unlabelled": int((clicks == _UNLABELLED).sum()),
            "with_repeated_candidates": int((distinct < candidates).sum()),
            "first_time": iso(int(timestamps.min())),
            "last_time": iso(int(timestamps.max())),
        }

    def _columns(self) -> NDArray[np.int64]:
        """Shape ``[impressions, 5]``."""
        return np.array(self._numbers, dtype=np.int64).reshape(-1, 5)
