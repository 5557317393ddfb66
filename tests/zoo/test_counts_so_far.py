"""Counters of clicked articles, against their definition."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from random_logs import HOUR, Log, impressions_of, logs

from recbole_tinynews.zoo.pprec import CountsSoFar

asked = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 4), st.lists(st.integers(0, 5), min_size=3)),
    min_size=1,
)


@given(log=logs, delay=st.integers(0, 4), asked=asked)
def test_counters_of_clicks_are_those_of_others_before(log: Log, delay: int, asked) -> None:
    """A click counted for the article that it is about would tell a user encoder its label."""
    counts = CountsSoFar(impressions_of(log), delay * HOUR)
    events = [(at, who, news, label == 1) for at, who, row in log for news, label in row]
    times, users = (torch.tensor(each)[:, None] for each in list(zip(*asked, strict=True))[:2])
    found = counts.at(torch.tensor([news[:3] for *_, news in asked]), users, times * HOUR)
    for (time, user, history), row in zip(asked, found.tolist(), strict=True):
        for article, (clicks, exposures) in zip(history, row, strict=False):
            seen = [
                clicked
                for at, who, news, clicked in events
                if at < time - delay and who != user and news == article
            ]
            assert (clicks, exposures) == (sum(seen), len(seen))
