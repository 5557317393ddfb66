from __future__ import annotations

import numpy as np
import pytest

from recbole_tinynews.data.negatives import BatchTitles, OtherTitles, random_bits

# article -> the first article with its title; 0, 2 and 7 have one title, and so have 5 and 6
TITLES = np.array([0, 1, 0, 3, 4, 5, 5, 0, 8, 9])
SEED = 5


def slowly(epoch: int, sample: int, count: int) -> list[int]:
    """Draw one title after the other, from a list of all articles that may be drawn."""
    pool = [
        article
        for article in sorted(range(len(TITLES)), key=lambda a: (TITLES[a], a))
        if TITLES[article] != TITLES[sample]
    ]
    bits = (int(random_bits(SEED, epoch, np.array(sample), np.array(n))) for n in range(count))
    return [pool[number % len(pool)] for number in bits]


def test_other_titles_are_those_of_the_plain_way() -> None:
    samples = np.array([7, 0, 3, 9, 5])
    for epoch in range(-1, 20):
        drawn = OtherTitles(TITLES, 4, SEED).draw(epoch, samples)
        expected = [slowly(epoch, sample, 4) for sample in samples]
        assert drawn.tolist() == expected


def test_titles_of_the_batch_are_all_of_them_and_no_own_one() -> None:
    samples = np.array([7, 0, 3, 9])
    for epoch in range(5):
        drawn = BatchTitles(TITLES, 4, SEED).draw(epoch, samples)
        any_titles = OtherTitles(TITLES, 3, SEED).draw(epoch, samples)
        assert drawn.tolist() == [
            [any_titles[0, 0], 3, 9],  # 0 has 7's title
            [3, 9, any_titles[1, 2]],
            [9, 7, 0],
            [7, 0, 3],
        ]


@pytest.mark.parametrize("left", [1, 2])
def test_a_short_last_batch_has_as_many_wrong_titles(left: int) -> None:
    """A single article has no other title in its batch, so its loss would always be 0."""
    drawn = BatchTitles(TITLES, 4, SEED).draw(1, np.array([3, 9])[:left])
    any_titles = OtherTitles(TITLES, 3, SEED).draw(1, np.array([3, 9])[:left])
    np.testing.assert_array_equal(drawn[:, left - 1 :], any_titles[:, left - 1 :])
    assert drawn[:, : left - 1].tolist() == ([[9], [3]] if left == 2 else [[]])


@pytest.mark.parametrize("articles", [1, 20])
def test_articles_with_one_title_have_no_other(articles: int) -> None:
    """A division by zero would draw any article, even the sample's own."""
    with pytest.raises(ValueError, match=rf"at least 2 different titles, got 1 in {articles}"):
        OtherTitles(np.zeros(articles, int), 9, 0).draw(0, np.arange(articles))
