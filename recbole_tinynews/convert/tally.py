"""Statistics of impressions: a few numbers for each, so that any part of a file can be counted."""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.convert.records import Impression
from recbole_tinynews.convert.timestamps import iso

_UNLABELLED = -1  # in place of the number of clicks


class Tally:
    """Numbers of each impression of a file, in file order, and all news ids in it."""

    def __init__(self) -> None:
        self.candidate_ids: set[str] = set()
        self.history_ids: set[str] = set()
        self._timestamps, self._displays = array("q"), array("q")
        self._counts = array("i")  # of history, candidates, distinct candidates, clicks

    def add(self, impression: Impression) -> None:
        """Count one impression."""
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
        """UTC seconds, shape ``[impressions]``."""
        return np.frombuffer(self._timestamps, np.int64)

    @property
    def displays(self) -> NDArray[np.int64]:
        """Hashes of user, time and set of candidates, shape ``[impressions]``."""
        return np.frombuffer(self._displays, np.int64)

    @property
    def counts(self) -> NDArray[np.int32]:
        """Length of history, candidates, distinct candidates and clicks: ``[impressions, 4]``."""
        return np.frombuffer(self._counts, np.int32).reshape(-1, 4)


class Part(NamedTuple):
    """The impressions of one split: those of a tally that a mask, ``[impressions]``, selects."""

    tally: Tally
    mask: NDArray[np.bool_] | slice = slice(None)

    @property
    def timestamps(self) -> NDArray[np.int64]:
        """UTC seconds of the selected impressions."""
        return self.tally.timestamps[self.mask]

    @property
    def displays(self) -> NDArray[np.int64]:
        """Hashes of user, time and set of candidates of the selected impressions."""
        return self.tally.displays[self.mask]

    @property
    def clicks(self) -> NDArray[np.int32]:
        """Numbers of clicks of the selected impressions, 0 where unlabelled."""
        return self.tally.counts[self.mask, 3].clip(0)

    @property
    def labelled(self) -> bool:
        """Whether the clicks of every impression are known."""
        return bool((self.tally.counts[self.mask, 3] != _UNLABELLED).all())

    def summary(self) -> dict[str, Any]:
        """The section of the report about these impressions."""
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
