"""Counters of what is read now: exact against brute force, and blind to the future."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_logs import HOUR, Log, impressions_of, logs
from tiny import Tiny

from recbole_tinynews.data import popularity
from recbole_tinynews.data.dataset import NewsDataset
from recbole_tinynews.data.popularity import (
    Counting,
    count_events,
    moment_features,
    popularity_features,
    refuse_without_times,
)

WINDOWS = (2, 5, None)  # of the time of logs, whose unit is an hour


def brute_force(log: Log, delay: int, counted: int) -> list[list[tuple[int, int]]]:
    """Clicks and exposures in each window, by the definition."""
    every = [
        (time, user, article, label == 1)
        for time, user, row in log[:counted]
        for article, label in row
    ]
    result = []
    for time, user, row in log:
        for article, _ in row:
            counts = []
            for window in WINDOWS:
                start = -math.inf if window is None else time - delay - window
                seen = [
                    clicked
                    for at, who, what, clicked in every
                    if start <= at < time - delay and who != user and what == article
                ]
                counts.append((sum(seen), len(seen)))
            result.append(counts)
    return result


@given(log=logs, delay=st.integers(0, 4), block=st.integers(1, 20), data=st.data())
def test_counters_are_those_of_the_definition(log: Log, delay: int, block: int, data) -> None:
    """A tie, a repeated click or an own event that counts would let a score see its own label."""
    counted = data.draw(st.sampled_from([len(log), len(log) // 2]))
    counting = Counting(WINDOWS, delay * HOUR)
    features = count_events(impressions_of(log), counting, counted, block=block)
    pairs = features[:, 1:].reshape(-1, 2, len(WINDOWS)).transpose(0, 2, 1)
    assert pairs.tolist() == [[[*pair] for pair in row] for row in brute_force(log, delay, counted)]


@given(log=logs, later=logs, delay=st.integers(0, 4), moment=st.integers(0, 12))
def test_no_event_from_then_on_changes_a_counter(
    log: Log, later: Log, delay: int, moment: int
) -> None:
    """Look-ahead of a second is enough to make a table worthless."""
    before = [row for row in log if row[0] < moment - delay]
    queried = (moment, 3, [(article, 0) for article in range(1, 5)])
    futures = [[], log, [(time + moment - delay, user, row) for time, user, row in later]]
    counters = [
        count_events(
            impressions_of([queried, *before, *(r for r in future if r[0] >= moment - delay)]),
            Counting(WINDOWS, delay * HOUR),
        )[:4, 1:]
        for future in futures
    ]
    assert (counters[0] == counters[1]).all()
    assert (counters[0] == counters[2]).all()


@given(log=logs)
def test_age_counts_from_the_first_exposure_or_from_publication(log: Log) -> None:
    """An article that is new to every user has the age 0, not that of the log."""
    shown = impressions_of(log)
    published = np.array([np.nan, 1.0, np.nan, 100.0, np.nan]) * HOUR
    ages = count_events(shown, Counting(), published=published)[:, 0]
    place = 0
    for time, _, row in log:
        for article, _ in row:
            first = min(at for at, _, other in log if article in {a for a, _ in other})
            start = {1: 1, 3: 100}.get(article, first)
            assert ages[place] == max(time - start, 0)
            place += 1


def test_a_split_of_which_half_shares_one_time_is_refused() -> None:
    """Where times of day are unknown, every counter would be 0 or all of the day before."""
    row = [(1, 1), (2, 0)]
    known = impressions_of([(time, 1, row) for time in (1, 2, 3)])
    refuse_without_times(known, "test")
    unknown = impressions_of([(time, 1, row) for time in (1, 7, 7, 9)])
    with pytest.raises(ValueError, match=r"2 of 4 test impressions have the same one"):
        refuse_without_times(unknown, "test")


def test_features_are_cached_by_log_and_settings_and_mapped(tmp_path: Path) -> None:
    """Counters of another delay, or of another log, would be taken for these."""
    log = [(time, time % 3, [(1, 1), (2 + time % 2, 0)]) for time in range(12)]
    shown = impressions_of(log)
    for counting in (Counting(), Counting(delay=2 * HOUR), Counting(stream=False)):
        plain = popularity_features(shown, counting, 6)
        for _ in range(2):
            cached = popularity_features(shown, counting, 6, cache=(tmp_path, "log"))
            assert cached.names == counting.names == plain.names
            assert (cached.values == plain.values).all()
            assert (cached.moments == plain.moments).all()
        assert isinstance(cached.values, np.memmap)
    popularity_features(shown, Counting(), 6, cache=(tmp_path, "another log"))
    kinds = [path.name.partition("-")[0] for path in tmp_path.iterdir() if path.is_dir()]
    assert kinds == ["popularity"] * 4


@given(log=logs, later=logs, delay=st.integers(0, 4), data=st.data())
def test_site_totals_are_those_of_all_users_before(log: Log, later: Log, delay: int, data) -> None:
    """A share of another moment, or of events to come, would be learnt and not served."""
    counted = data.draw(st.sampled_from([len(log), len(log) // 2]))
    windows = data.draw(st.sampled_from([WINDOWS, WINDOWS[:-1]]))  # totals of all time are none
    counting = Counting(windows, delay * HOUR)
    found = moment_features(impressions_of(log), counting, counted)
    expected = []
    for now, _, _ in log:
        seen = [
            [
                label
                for at, _, row in log[:counted]
                if 0 < now - delay - at <= window
                for _, label in row
            ]
            for window in WINDOWS[:-1]
        ]
        expected.append([*(sum(x == 1 for x in each) for each in seen), *map(len, seen)])
    assert found.tolist() == expected
    shifted = [(time + 100, user, row) for time, user, row in later]
    both = moment_features(impressions_of([*log, *shifted]), counting, len(log) + len(later))
    alone = moment_features(impressions_of(log), counting, len(log))
    assert (both[: len(log)] == alone).all()


@given(log=logs, others=st.lists(st.integers(1, 4), max_size=6))
def test_features_of_a_candidate_ignore_which_others_are_shown_with_it(log: Log, others) -> None:
    """Means over the candidates made the order of two articles depend on the rest of the list."""
    latest = max((time for time, _, _ in log), default=0) + 1
    few = [*log, (latest, 1, [(1, 0), (2, 1)])]
    many = [*log, (latest, 1, [(1, 0), (2, 1), *((article, 0) for article in others)])]
    found = [
        popularity_features(impressions_of(rows), Counting(WINDOWS), len(rows))
        for rows in (few, many)
    ]
    start = sum(len(row) for _, _, row in log)
    assert (found[0].values[start:] == found[1].values[start : start + 2]).all()
    assert (found[0].moments == found[1].moments).all()


@pytest.mark.parametrize("popularity_from", ["train", "stream"])
def test_counters_of_a_test_set_stop_where_its_settings_say(tiny: Tiny, popularity_from) -> None:
    """Counting the whole stream under `train`, an evaluation would look ahead unseen."""
    given = {"popularity": "added", "popularity_windows": [None]}
    config = tiny.config(popularity_from=popularity_from, **given)
    train, _, test = NewsDataset(config).build()
    log, features = test.log, test.impressions(config).features
    until = train.inter_feat.rows if popularity_from == "train" else log.rows
    expected = []
    for row in range(log.rows - test.inter_feat.rows, log.rows):
        events = [
            (article, label == 1)
            for other in range(until)
            if log.timestamp[other] < log.timestamp[row] and log.user[other] != log.user[row]
            for article, label in zip(
                log.candidates.between(other, other + 1).values,
                log.labels[slice(*log.candidates.offsets[other : other + 2])],
                strict=True,
            )
        ]
        for article in log.candidates.between(row, row + 1).values:
            clicks = [clicked for other, clicked in events if other == article]
            expected.append([sum(clicks), len(clicks)])
    assert features.values[:, 1:].tolist() == expected
    assert any(sum(counts) for counts in expected)


def test_windows_have_whole_seconds_to_the_nearest() -> None:
    """4.35 hours cut are a second short, which no counter of a plain script is."""
    counting = popularity.Counting((4.35, 0.0002), delay=7)
    assert counting.ends == [7, 15_667, 8]
    assert counting.span == 15_667
