"""What a leaderboard does with a submission: it refuses whatever is not exactly as it lists it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile


def assert_accepted(
    submission: Path, ids: Sequence[str], sizes: Sequence[int], member: str = "prediction.txt"
) -> None:
    """One member, one line for each impression in order, and in it each rank once."""
    with ZipFile(submission) as archive:
        assert archive.namelist() == [member]
        assert archive.testzip() is None
        text = archive.read(member).decode("utf-8")
    *lines, rest = text.split("\n")
    assert rest == ""  # the last line ends too
    assert len(lines) == len(ids)
    for line, name, size in zip(lines, ids, sizes, strict=True):
        given, ranks = line.split(" ")  # one space, and none in the list
        assert given == name
        assert (ranks[0], ranks[-1]) == ("[", "]")
        assert sorted(ranks[1:-1].split(",")) == sorted(map(str, range(1, size + 1)))
