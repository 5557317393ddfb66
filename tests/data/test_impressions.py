from __future__ import annotations

import numpy as np
import pytest

from recbole_tinynews.data import impressions
from recbole_tinynews.data.impressions import Impressions, clicks_of
from recbole_tinynews.data.ragged import Ragged


def impressions_of(*labels: list[int]) -> Impressions:
    """Impressions with the given labels, and ids that say where each candidate stands."""
    rows = len(labels)
    ids = [
        [100 * (row + 1) + place for place in range(len(each))] for row, each in enumerate(labels)
    ]
    return Impressions(
        np.array([f"i{row}" for row in range(rows)]),
        np.arange(rows, dtype=np.int32),
        np.arange(rows),
        Ragged.from_rows([[row] * row for row in range(rows)], np.int32),
        Ragged.from_rows(ids, np.int32),
        np.array([label for each in labels for label in each], np.int8),
    )


MIXED = ([0, 1], [], [1, 1], [-1, -1], [1, 0, 1, 0], [0, 0], [1], [], [0, 0, 0, 1])


def test_every_click_beside_an_unclicked_candidate_is_a_sample() -> None:
    """A click counted in a neighbour's impression is trained under another user's history."""
    impressions = impressions_of(*MIXED)
    found = clicks_of(impressions)
    expected = [
        (row, 100 * (row + 1) + place)
        for row, labels in enumerate(MIXED)
        for place, label in enumerate(labels)
        if label == 1 and 0 in labels
    ]
    news = impressions.candidates.values[found.position]
    assert list(zip(found.impression.tolist(), news.tolist(), strict=True)) == expected


def test_clicks_without_an_unclicked_candidate_are_counted() -> None:
    """Dropped silently, nobody knows why a fifth of the clicks is missing."""
    assert clicks_of(impressions_of(*MIXED)).without_negatives == 3
    assert clicks_of(impressions_of([1], [-1])).without_negatives == 1
    assert len(clicks_of(impressions_of([1], [-1])).position) == 0


def test_a_leaderboards_test_set_is_not_taken_for_one_without_clicks() -> None:
    """Meaningless metrics would be reported as results."""
    assert impressions_of([0, 0]).labelled
    assert not impressions_of([-1, -1], [-1]).labelled
    assert not impressions_of().labelled


@pytest.mark.parametrize("at_once", [1, 2, 1_000])
def test_exactly_the_articles_that_a_batch_may_hold_are_listed(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """A missing one is encoded alone, slowly; clicks too old for the history are not needed."""
    monkeypatch.setattr(impressions, "ROWS_AT_ONCE", at_once)
    shown = Impressions(
        np.array(["a", "b", "c"]),
        np.zeros(3, np.int32),
        np.zeros(3, np.int64),
        Ragged.from_rows([[9, 1, 2], [], [3]], np.int32),
        Ragged.from_rows([[4], [4, 7], []], np.int32),
        np.zeros(3, np.int8),
    )
    assert shown.news_ids(2).tolist() == [1, 2, 3, 4, 7]
    assert shown.news_ids().tolist() == [1, 2, 3, 4, 7, 9]
    assert shown.between(1, 2).news_ids(2).tolist() == [4, 7]
    assert shown.between(2, 2).news_ids(2).tolist() == []
