"""Thousands of corrupted impressions, compared with a plain parser written from the format.

What the converter keeps must be exactly the lines that the plain parser accepts, and what it skips
must be counted: kept + skipped == given.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from mind_folder import IMPRESSIONS, WriteMind
from plain_mind import expected_impressions, lines_of, read, spoil

from recbole_tinynews.convert import convert_news

A_FILE = 8_000


@pytest.mark.parametrize("seed", range(2))
def test_no_corrupted_impression_is_lost_or_changed_without_a_count(
    write_mind: WriteMind, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    train, good = write_mind(), [f"{line}\n".encode() for line in IMPRESSIONS]
    bases = [
        b"%d\tU1\t11/15/2019 12:05:00 PM\tN1 N2\tN3-0 N2-1 N1-0",
        b"%d\tU22\t1/2/2020 1:00:59 AM\t\tN1-1",
    ]
    spoilt = [spoil(rng.choice(bases) % (100 + i), rng) + b"\n" for i in range(A_FILE)]
    content = b"".join([*good, *spoilt])
    (train / "behaviors.tsv").write_bytes(content)
    valid = write_mind(name="valid")
    report = convert_news(train, "tiny", valid=valid, output=tmp_path / "out", on_error="skip")

    kept = read(tmp_path / "out" / "tiny" / "tiny.train.inter")
    assert kept == expected_impressions(content)
    skipped = report["skipped_lines"]["total"]
    assert report["impressions"]["train"]["impressions"] == len(kept)
    assert len(kept) + skipped == len(lines_of(content))
    assert min(len(kept), skipped) > A_FILE / 20  # enough lines are corrupted, and not too many
