"""Cold-start impressions: those whose clicked articles nobody had clicked in training."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def cold_impressions(
    candidates: NDArray[np.integer],
    labels: NDArray[np.integer],
    offsets: NDArray[np.int64],
    clicked_before: Iterable[int],
) -> NDArray[np.bool_]:
    """Marks impressions with clicks, none of them on an article in ``clicked_before``.

    Ragged arrays as in ``metrics``: ``candidates`` (news ids) and ``labels`` of all candidates,
    ``offsets`` ``[impressions + 1]``. Returned is ``[impressions]``.

    >>> news, labels = np.array([1, 2, 3, 2, 3]), np.array([0, 1, 1, 0, 1])
    >>> cold_impressions(news, labels, np.array([0, 3, 5]), clicked_before=[2])
    array([False,  True])
    """
    clicked = labels == 1
    known = clicked & np.isin(candidates, np.fromiter(clicked_before, np.int64))
    clicks, known_clicks = (
        np.diff(np.searchsorted(np.flatnonzero(each), offsets)) for each in (clicked, known)
    )
    return (clicks > 0) & (known_clicks == 0)
