from __future__ import annotations

import logging
import pickle
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_tinynews.files import array_cache
from recbole_tinynews.files.array_cache import Arrays, GrowingArray, cached_arrays, content_key


class Maker:
    """Makes the same arrays each time, and counts."""

    def __init__(self) -> None:
        self.times = 0
        self.arrays: Arrays = {
            "numbers": np.arange(1000, dtype=np.int32),
            "names": np.array(["", "ü", "longer"]),
            "nothing": np.zeros(0, np.int8),
        }

    def __call__(self) -> Arrays:
        self.times += 1
        return self.arrays


@pytest.fixture
def make() -> Maker:
    return Maker()


def assert_equal(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_second_call_reads_what_the_first_one_made(tmp_path: Path, make: Maker) -> None:
    """A cache that is never hit would cost time at every start instead of saving it."""
    calls = [cached_arrays(tmp_path / "new" / "cache", "some", "key", make) for _ in range(2)]
    assert make.times == 1
    for found in calls:
        assert_equal(found, make.arrays)
        assert isinstance(found["numbers"], np.memmap)  # a gigabyte of impressions is not copied


def test_another_key_or_name_is_other_content(tmp_path: Path, make: Maker) -> None:
    for name, key in (("a", "1"), ("a", "2"), ("b", "1"), ("a", "1")):
        cached_arrays(tmp_path, name, key, make)
    assert make.times == 3
    for _ in range(2):  # without a folder, nothing is kept
        cached_arrays(None, "a", "1", make)
    assert make.times == 5


DAMAGES = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-9]),
    "flipped bit": lambda file: file.write_bytes(file.read_bytes()[:-1] + b"\xff"),
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_bytes(b"no array at all"),
    "pickle": lambda file: np.save(file, np.array([{"an": "object"}]), allow_pickle=True),
    "gone": Path.unlink,
    "no names": lambda file: file.with_name("names.json").write_text("["),
    "earlier version": lambda file: file.with_name("names.json").write_text('["numbers"]'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_arrays_are_made_again_with_a_warning(
    tmp_path: Path, make: Maker, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One full disk must not stop every later run, nor give it half of the impressions."""
    cached_arrays(tmp_path, "some", "key", make)
    DAMAGES[damage](tmp_path / "some-key" / "numbers.npy")
    with caplog.at_level(logging.WARNING):
        assert_equal(cached_arrays(tmp_path, "some", "key", make), make.arrays)
    assert make.times == 2
    assert "some-key cannot be read and is recomputed" in caplog.text
    assert_equal(cached_arrays(tmp_path, "some", "key", make), make.arrays)
    assert make.times == 2  # the new ones are stored


def test_a_pickle_of_somebody_else_is_never_run(tmp_path: Path, make: Maker) -> None:
    """A cache that came with a data set would run its author's code."""
    cached_arrays(tmp_path, "some", "key", make)
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple:
            return Path.touch, (ran,)

    (tmp_path / "some-key" / "numbers.npy").write_bytes(pickle.dumps(Bomb()))
    cached_arrays(tmp_path, "some", "key", make)
    assert not ran.exists()


def test_objects_are_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle=False"):
        cached_arrays(tmp_path, "a", "1", lambda: {"objects": np.array([{}], dtype=object)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("blocked", ["folder", "place"])
def test_a_place_that_cannot_be_written_only_warns(
    tmp_path: Path, make: Maker, blocked: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A data set on a read-only disk is a reason to be slower, not to stop."""
    folder = tmp_path / "folder"
    if blocked == "folder":
        folder.write_text("a file stands where the folder would")
    else:
        folder.mkdir()
        (folder / "some-key").write_text("a file stands where the arrays would")
    with caplog.at_level(logging.WARNING):
        assert_equal(cached_arrays(folder, "some", "key", make), make.arrays)
    assert "cannot be written, so nothing is cached" in caplog.text


def test_of_two_runs_that_want_the_same_arrays_one_makes_them(tmp_path: Path, make: Maker) -> None:
    """Eight processes of one training would each take the time, and the memory, of all."""
    others: list[Future[Arrays]] = []

    def make_slowly() -> Arrays:
        others.append(pool.submit(cached_arrays, tmp_path, "some", "key", make))
        with pytest.raises(StillRunning):
            others[0].result(timeout=0.5)  # it waits
        return make()

    with ThreadPoolExecutor(1) as pool:
        assert_equal(cached_arrays(tmp_path, "some", "key", make_slowly), make.arrays)
        assert_equal(others[0].result(), make.arrays)
    assert make.times == 1
    assert [place.name for place in tmp_path.iterdir()] == ["some-key"]


def test_a_key_depends_on_the_content_and_not_on_its_path(tmp_path: Path) -> None:
    """Keys by path or time miss after a copy, and hit after an edit within the same second."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"content")
    two.write_bytes(b"content")
    assert content_key([one]) == content_key([two])
    two.write_bytes(b"Content")
    assert content_key([one]) != content_key([two])
    assert content_key([one, two]) != content_key([two, one])
    # nor can its parts run into each other
    assert content_key(["ab", "c"]) != content_key(["a", "bc"]) != content_key(["abc"])
    assert content_key(["a"]) == content_key([b"a"])


NUMBERS = st.lists(st.integers(-(2**31), 2**31 - 1))
WORDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))


@given(st.lists(NUMBERS), st.lists(WORDS), st.sampled_from([1, 3, array_cache._BLOCK]))
def test_blocks_come_back_in_order_however_long_later_words_are(numbers, words, piece) -> None:
    """Longer words leave those before them, in all pieces of the copy."""
    for blocks, dtype in ((numbers, np.int32), (words, str)):
        arrays = [np.array(block, dtype=dtype) for block in blocks]
        grown = GrowingArray(None, np.zeros(0, dtype))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(array_cache, "_BLOCK", piece)
            for array in arrays:
                grown.append(array)
        expected = np.concatenate([np.zeros(0, dtype), *arrays])
        found = grown.array()
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


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
