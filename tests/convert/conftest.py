from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from mind_folder import IMPRESSIONS, NEWS, WriteMind


@pytest.fixture
def write_mind(tmp_path: Path) -> WriteMind:
    """Write a folder of MIND's files: a small valid one, except for what is given."""

    def write(
        impressions: Iterable[str] = IMPRESSIONS, news: Iterable[str] = NEWS, name: str = "train"
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file, rows in (("behaviors.tsv", impressions), ("news.tsv", news)):
            text = "".join(f"{row}\n" for row in rows)
            # A lone surrogate stands for a byte that is not UTF-8.
            (folder / file).write_bytes(text.encode("utf-8", "surrogateescape"))
        return folder

    return write
