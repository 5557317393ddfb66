"""What a reader did in the log before an impression, against its definition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from random_logs import HOUR, Log, impressions_of, logs
from tiny import Tiny

from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.impressions import RecentClicks
from recbole_tinynews.data.popularity import DEVICES, Counting, popularity_features, visit_features

WINDOWS = (2, 5, None)


class Seen(NamedTuple):
    time: int
    article: int
    clicked: bool


def seen_before(log: Log, row: int, delay: int, counted: int) -> Iterator[Seen]:
    """What the reader of an impression was shown, as far as it is known then."""
    now, reader, _ = log[row]
    for at, who, shown in log[:counted]:
        if who == reader and at < now - delay:
            yield from (Seen(at, article, label == 1) for article, label in shown)


@given(log=logs, delay=st.integers(0, 4), block=st.integers(1, 20), data=st.data())
def test_own_counters_are_those_of_the_definition(log: Log, delay: int, block: int, data) -> None:
    """An event of another reader, or of this impression itself, would tell its label."""
    counted = data.draw(st.sampled_from([len(log), len(log) // 2]))
    counting = Counting(WINDOWS, delay * HOUR, counted == len(log), reader=True)
    found = popularity_features(impressions_of(log), counting, counted)
    assert found.moments is not None
    own = found.values[:, 1 + 2 * len(WINDOWS) :]
    expected, visits = [], []
    for row, (now, _, shown) in enumerate(log):
        seen = [*seen_before(log, row, delay, counted)]
        visits.append(min((now - each.time for each in seen), default=-1))
        for article, _ in shown:
            ages = [(now - each.time, each.clicked) for each in seen if each.article == article]
            within = [
                [clicked for age, clicked in ages if window is None or age - delay <= window]
                for window in WINDOWS
            ]
            hours = [age for age, _ in ages] or [-1]
            expected.append([*map(sum, within), *map(len, within), max(hours), min(hours)])
    assert own.tolist() == expected
    assert found.moments[:, -1].tolist() == visits


@given(log=logs, delay=st.integers(0, 4), width=st.integers(1, 5), data=st.data())
def test_clicks_of_the_log_extend_the_history_given(log: Log, delay: int, width: int, data) -> None:
    """A click of this impression among them would be its own label."""
    counted = data.draw(st.sampled_from([len(log), len(log) // 2]))
    events = impressions_of(log)
    clicked = np.flatnonzero(events.between(0, counted).labels == 1)
    clicks = events.candidates.rows_of(clicked), events.candidates.values[clicked]
    recent = RecentClicks.of(
        events.user, events.timestamp, clicks, delay * HOUR, np.array(list("01234"))
    )
    history = np.array([data.draw(st.permutations(range(9)))[:width] for _ in log])
    history[history > 4] = 0
    history = np.take_along_axis(history, np.argsort(history != 0, axis=1, kind="stable"), 1)
    found = recent.appended(history, np.arange(len(log)))
    for row, given_clicks in enumerate(history.tolist()):
        seen = sorted(seen_before(log, row, delay, counted))
        newest = [each.article for each in seen if each.clicked]
        once = [a for place, a in enumerate(newest) if a not in newest[place + 1 :]][-width:]
        both = [*filter(None, given_clicks), *(a for a in once if a not in given_clicks)]
        assert [*filter(None, found[row].tolist())] == both[-width:]


def test_histories_of_a_test_set_stop_where_its_settings_say(tiny: Tiny) -> None:
    """Clicks of test impressions under `train` would be looked ahead at, unseen."""
    known = {}
    for popularity_from in ("train", "stream"):
        config = tiny.config(history_from="log", popularity_from=popularity_from)
        train, _, test = NewsDataset(config).build()
        recent = test.impressions(config).recent
        known[popularity_from] = (recent.stops - recent.starts).tolist()
    log, asked = train.inter_feat, test.inter_feat
    rows = log.candidates.rows_of(np.flatnonzero(log.labels == 1))
    expected = [
        int(((log.user[rows] == user) & (log.timestamp[rows] < time)).sum())
        for user, time in zip(asked.user, asked.timestamp, strict=True)
    ]
    assert known["train"] == expected
    assert sum(known["stream"]) > sum(expected)


def test_a_device_that_training_never_saw_has_a_column_too() -> None:
    """A service would refuse the first request of a new kind of device."""
    names, unknown = ["[PAD]", "phone", "tablet"], np.array([np.nan], np.float32)
    known = visit_features(names, np.array([0, 1]), np.array([np.nan, 1], np.float32))
    assert known[0].tolist() == [0] * DEVICES + [0.5]
    assert known[1, :DEVICES].sum() == 1
    assert known[1, -1] == 1
    new = visit_features(["[PAD]", "glasses"], np.array([1]), unknown)
    assert new[0, :DEVICES].sum() == 1
