from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_tinynews.files import array_cache
from recbole_tinynews.files.array_cache import GrowingArray

NUMBERS = st.lists(st.integers(-(2**31), 2**31 - 1))
WORDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))


@given(st.lists(NUMBERS), st.lists(WORDS))
def test_blocks_come_back_in_order_however_long_later_words_are(numbers, words) -> None:
    for blocks, dtype in ((numbers, np.int32), (words, str)):
        arrays = [np.array(block, dtype=dtype) for block in blocks]
        grown = GrowingArray(None, np.zeros(0, dtype))
        for array in arrays:
            grown.append(array)
        expected = np.concatenate([np.zeros(0, dtype), *arrays])
        found = grown.array()
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_longer_words_leave_those_before_them_in_all_pieces_of_the_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(array_cache, "_BLOCK", 3)
    grown = GrowingArray(None, np.array(["a", "b", "c", "d"]))
    grown.append(np.array(["long"]))
    assert grown.array().tolist() == ["a", "b", "c", "d", "long"]


def test_a_killed_process_leaves_no_file(tmp_path: Path) -> None:
    grown = GrowingArray(tmp_path / "cache", np.arange(3))
    assert [*(tmp_path / "cache").iterdir()] == []
    assert grown.array().tolist() == [0, 1, 2]


def test_a_folder_that_cannot_be_written_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert GrowingArray(tmp_path / "file" / "cache", np.arange(3)).array().tolist() == [0, 1, 2]
