"""Small random logs of impressions, to count in."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from recbole_tinynews.data.impressions import Impressions
from recbole_tinynews.data.ragged import Ragged

Log = list[tuple[int, int, list[tuple[int, int]]]]  # time, user, (article, label) of each candidate
HOUR = 3600

logs = st.lists(
    st.tuples(
        st.integers(0, 12),  # few moments, so that many tie
        st.integers(1, 3),
        st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0, 1, -1])), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=12,
)


def impressions_of(log: Log) -> Impressions:
    candidates = [[article for article, _ in row] for _, _, row in log]
    return Impressions(
        np.array([str(place) for place in range(len(log))]),
        np.array([user for _, user, _ in log], dtype=np.int32),
        np.array([time * HOUR for time, _, _ in log], dtype=np.int64),
        Ragged.from_rows([[] for _ in log], np.int32),
        Ragged.from_rows(candidates, np.int32),
        np.array([label for _, _, row in log for _, label in row], dtype=np.int8),
    )
