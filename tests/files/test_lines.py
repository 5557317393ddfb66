from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from recbole_tinynews.files import lines
from recbole_tinynews.files.lines import read_lines

TEXT = "first\u2028still first\x85\x0b\r\nsecond\rstill second\n\nfourth, without an end"
LINES = ["first\u2028still first\x85\x0b", "second\rstill second", "", "fourth, without an end"]


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte-order mark"])
@pytest.mark.parametrize("zipped", [False, True], ids=["text", "gzip"])
@pytest.mark.parametrize("block", [1, 2, 3, 7, lines.BLOCK])
def test_only_line_feeds_end_a_line_wherever_a_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, zipped: bool, mark: str
) -> None:
    r"""U+2028 in a title would split an article; a block may end between ``\r`` and ``\n``."""
    monkeypatch.setattr(lines, "BLOCK", block)
    data, file = (mark + TEXT).encode(), tmp_path / "any.name"
    file.write_bytes(gzip.compress(data) if zipped else data)
    assert list(read_lines(file)) == LINES


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    """A codec's offset into a buffer does not help to find a line among two million."""
    file = tmp_path / "latin.tsv"
    file.write_bytes(b"fine\n\xe9t\xe9\nfine\n")
    with pytest.raises(ValueError, match=r"latin\.tsv, line 2, expects UTF-8"):
        list(read_lines(file))


def test_a_missing_file_and_a_folder_are_named_and_not_taken_for_empty_ones(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert list(read_lines(tmp_path / "empty")) == []
    for place in (tmp_path / "gone.tsv", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"{place} cannot be read"):
            list(read_lines(place))


@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
def test_a_damaged_gzip_file_is_not_read_as_a_short_one(tmp_path: Path, damage: str) -> None:
    """Half a download would train on half a corpus."""
    data = bytearray(gzip.compress("".join(f"line {i * i}\n" for i in range(5000)).encode()))
    middle = len(data) // 2
    if damage == "cut off":
        del data[middle:]
    else:
        data[middle : middle + 20] = bytes(20)
    file = tmp_path / "half.tsv.gz"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"half\.tsv\.gz expects a complete gzip file"):
        list(read_lines(file))


@pytest.mark.parametrize("zipped", [False, True], ids=["text", "gzip"])
def test_a_line_that_would_fill_the_memory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    """A gzip of zeros unpacks to a thousand times its size."""
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    monkeypatch.setattr(lines, "BLOCK", 10)
    data = b"short\n" + bytes(1000)
    (tmp_path / "file").write_bytes(gzip.compress(data) if zipped else data)
    with pytest.raises(ValueError, match=r"file, line 2, expects at most 100 bytes"):
        list(read_lines(tmp_path / "file"))
