from __future__ import annotations

import numpy as np
import pytest

from recbole_tinynews.data.ragged import Ragged

ROWS = [[], [1, 2, 3], [4], [], [], [5, 6], []]
ORDER = np.array([5, 0, 1, 1, 6])


@pytest.fixture
def ragged() -> Ragged:
    return Ragged.from_rows(ROWS, np.int32)


def test_rows_come_back_as_they_were_packed(ragged: Ragged) -> None:
    """An offset of one would give every user a neighbour's history."""
    assert [ragged.row(row).tolist() for row in range(ragged.rows)] == ROWS
    assert ragged.lengths.tolist() == [0, 3, 1, 0, 0, 2, 0]
    assert (ragged.values.dtype, ragged.offsets.dtype) == (np.int32, np.int64)


def test_lengths_that_miss_the_values_are_refused() -> None:
    """Rows would be cut at wrong places, and the last values belong to no row."""
    with pytest.raises(ValueError, match="sum to the 3 values, got a sum of 4"):
        Ragged.from_lengths(np.arange(3), np.array([2, 2]))


def test_chosen_rows_keep_the_order_asked_for(ragged: Ragged) -> None:
    """A batch is shuffled: rows in the order of the file would be other samples' rows."""
    taken = ragged.take(ORDER)
    assert [taken.row(row).tolist() for row in range(taken.rows)] == [ROWS[i] for i in ORDER]
    assert ragged.lengths_of(ORDER).tolist() == [len(ROWS[i]) for i in ORDER]
    assert ragged.take(np.array([0, 3])).values.tolist() == []


def test_padding_comes_last_and_the_newest_values_are_kept(ragged: Ragged) -> None:
    """RecBole's ``seq_len`` would keep the oldest clicks instead of the newest."""
    assert ragged.padded(np.array([2, 1, 0]), padding=9).tolist() == [[4, 9, 9], [1, 2, 3], [9] * 3]
    assert ragged.padded(np.array([0, 3]), padding=9).shape == (2, 0)
    assert ragged.newest(np.array([1, 0, 5]), 2).tolist() == [[2, 3], [0, 0], [5, 6]]
    assert ragged.newest(np.array([1, 4, 2]), 5).tolist() == [
        [0, 0, 1, 2, 3],
        [0] * 5,
        [0] * 4 + [4],
    ]


def test_a_range_and_its_concatenation_lose_nothing(ragged: Ragged) -> None:
    for cut in range(ragged.rows + 1):
        parts = [ragged.between(0, cut), ragged.between(cut, ragged.rows)]
        assert parts[1].offsets[0] == 0
        whole = Ragged.concatenate(parts)
        np.testing.assert_array_equal(whole.values, ragged.values)
        np.testing.assert_array_equal(whole.offsets, ragged.offsets)


def test_a_value_knows_its_row_beside_empty_ones(ragged: Ragged) -> None:
    """Empty rows share an offset; the click would go to an impression without candidates."""
    owners = [row for row, values in enumerate(ROWS) for _ in values]
    assert ragged.rows_of(np.arange(6)).tolist() == owners
