"""What readers clicked in the log before an impression, which extends the history given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class RecentClicks(NamedTuple):
    """Clicks of the log by reader and time, and the part of them that each impression knows.

    Shapes:
        articles: ``[clicks]``, int32 news ids, by reader, each reader's oldest first.
        starts, stops: ``[impressions]``: clicks ``starts[i] .. stops[i] - 1`` are the reader's
            before impression ``i``.
    """

    articles: NDArray[np.int32]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        user: NDArray[np.integer],
        timestamp: NDArray[np.int64],
        clicks: tuple[NDArray[np.int64], NDArray[np.integer]],
        delay: int,
        names: NDArray[np.str_],
    ) -> RecentClicks:
        """Clicks known ``delay`` seconds later, of impressions ``[impressions]``.

        ``clicks`` are the row of the impression of each click, and its article; clicks of one
        second are in the order of their articles' ``names``, ``[news]``, as in a service.
        """
        rows, articles = clicks
        by_name = np.empty(len(names), np.int64)
        by_name[np.argsort(names, kind="stable")] = np.arange(len(names))
        order = np.lexsort((by_name[articles], timestamp[rows], user[rows]))
        origin = int(timestamp.min(initial=0))
        bits = int(timestamp.max(initial=0) - origin).bit_length()
        of_reader = user.astype(np.int64) << bits
        keys = (of_reader[rows] + timestamp[rows] - origin)[order]
        until = of_reader + np.maximum(timestamp - origin - delay, 0)
        starts, stops = keys.searchsorted(of_reader), keys.searchsorted(until)
        return cls(articles[order].astype(np.int32), starts, stops)

    def between(self, start: int, stop: int) -> RecentClicks:
        """Those of impressions ``start .. stop - 1``."""
        return RecentClicks(self.articles, self.starts[start:stop], self.stops[start:stop])

    def newest(self, rows: NDArray[np.int64], width: int) -> NDArray[np.int32]:
        """The newest clicks of impressions, padded in front with 0, ``[rows, width]``."""
        ago = np.arange(width, 0, -1)
        positions = self.stops[rows][:, None] - ago
        known = positions >= self.starts[rows][:, None]
        if not len(self.articles):
            return np.zeros(known.shape, np.int32)
        return np.where(known, self.articles[np.maximum(positions, 0)], 0)

    def appended(
        self, history: NDArray[np.integer], rows: NDArray[np.int64]
    ) -> NDArray[np.integer]:
        """Histories ``[rows, width]`` with those recent clicks that they do not hold, newest last.

        Of an article clicked several times recently, the newest click stays.
        """
        width = history.shape[1]
        recent = self.newest(rows, width)
        is_new = (recent != 0) & ~(recent[:, :, None] == history[:, None, :]).any(2)
        later = np.arange(width)[:, None] < np.arange(width)
        is_new &= ~((recent[:, :, None] == recent[:, None, :]) & later).any(2)
        both = np.concatenate([history, np.where(is_new, recent, 0)], axis=1)
        # a stable sort by emptiness moves what is kept to the end, in its order
        order = np.argsort(both != 0, axis=1, kind="stable")[:, width:]
        return np.take_along_axis(both, order, axis=1)
