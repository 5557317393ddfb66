from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from recbole_tinynews.data.impressions import Impressions
from recbole_tinynews.data.negatives import ImpressionNegatives, _mix, random_bits
from recbole_tinynews.data.ragged import Ragged

LABELS = [[0, 1, 0, 0, 0, 1, 0], [1, 0], [0, 1, 0], [1, 1], [0, 0, 0, 0, 1]]


@pytest.fixture
def impressions() -> Impressions:
    ids = [
        [10 * (row + 1) + place for place in range(len(each))] for row, each in enumerate(LABELS)
    ]
    rows = len(LABELS)
    return Impressions(
        np.arange(rows).astype(str),
        np.zeros(rows, np.int32),
        np.zeros(rows, np.int64),
        Ragged.from_rows([[]] * rows, np.int32),
        Ragged.from_rows(ids, np.int32),
        np.array([label for each in LABELS for label in each], np.int8),
    )


def unclicked(row: int) -> set[int]:
    return {10 * (row + 1) + place for place, label in enumerate(LABELS[row]) if label == 0}


def drawn_news(negatives: ImpressionNegatives, *draw: Any) -> np.ndarray:
    return negatives.impressions.candidates.values[negatives.draw(*draw)]


SAMPLES, ROWS = np.array([7, 0, 3, 5, 1]), np.array([4, 0, 2, 1, 0])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_negatives_are_unclicked_candidates_of_the_same_impression(
    impressions: Impressions, count: int
) -> None:
    """A clicked one, or another impression's, teaches the model to avoid what users like."""
    for epoch in range(20):
        drawn = drawn_news(ImpressionNegatives(impressions, count, 3), epoch, SAMPLES, ROWS)
        assert drawn.shape == (5, count)
        for row, negatives in zip(ROWS, drawn.tolist(), strict=True):
            assert set(negatives) <= unclicked(row)
            # without replacement as far as they go, then the same ones again
            available = len(unclicked(row))
            assert len(set(negatives[:available])) == min(available, count)
            assert all(negatives[i] == negatives[i - available] for i in range(available, count))


def test_each_epoch_seed_and_sample_has_its_own_draw(impressions: Impressions) -> None:
    """With fixed negatives the model would see 4 of 37 candidates in all its epochs."""
    samples, rows = np.arange(50), np.zeros(50, np.int64)
    draws = [
        ImpressionNegatives(impressions, 2, seed).draw(epoch, samples, rows)
        for seed, epoch in ((3, 0), (3, 1), (4, 0))
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert 0.7 < (draws[one] != draws[other]).any(axis=1).mean() < 1  # 1 in 20 by chance
    assert len({tuple(row) for row in draws[0].tolist()}) > 10


@pytest.mark.parametrize("place", [0, 1, 4])
def test_every_unclicked_candidate_is_drawn_equally_often_at_every_place(
    impressions: Impressions, place: int
) -> None:
    """A generator that favours a place in the list trains on the publisher's ranking."""
    samples, rows = np.arange(4000), np.zeros(4000, np.int64)
    drawn = drawn_news(ImpressionNegatives(impressions, 5, 11), 0, samples, rows)[:, place]
    counts = np.array([Counter(drawn.tolist())[news] for news in sorted(unclicked(0))])
    assert chi_square(counts) < 18.5  # 4 degrees of freedom: 1 in 1,000


def chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


def test_an_impression_without_negatives_is_refused(impressions: Impressions) -> None:
    """A division by zero would pick a candidate of another impression."""
    with pytest.raises(ValueError, match="unclicked candidate, got one without, row 3"):
        ImpressionNegatives(impressions, 2, 0).draw(0, np.array([0, 1]), np.array([0, 3]))


def test_bits_equal_the_published_generator() -> None:
    """SplitMix64 from seed 0 starts with these numbers; no other test notices a wrong shift."""
    golden = 0x9E3779B97F4A7C15
    states = np.array([golden * step % 2**64 for step in range(3)], dtype=np.uint64)
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(value) for value in _mix(states)] == published


def test_bits_tell_all_their_arguments_apart() -> None:
    """Seed 1, epoch 2 must not be seed 2, epoch 1."""
    numbers = [
        int(random_bits(seed, epoch, np.array(sample), np.array(draw)))
        for seed in range(3)
        for epoch in range(-1, 3)
        for sample in range(-1, 3)
        for draw in range(3)
    ]
    assert len(set(numbers)) == len(numbers)
