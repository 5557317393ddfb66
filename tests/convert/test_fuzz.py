"""Forty thousand corrupted lines, compared with a plain parser written from the format.

What the converter keeps must be exactly the lines that the plain parser accepts, and what it skips
must be counted: kept + skipped == given.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from mind_folder import IMPRESSIONS, NEWS, WriteMind
from plain_mind import (
    as_written,
    expected_bodies,
    expected_impressions,
    expected_news,
    lines_of,
    read,
    spoil,
)

from recbole_tinynews.convert import convert_mind

IMPRESSION_LINES, NEWS_LINES, BODY_LINES = 24_000, 8_000, 8_000
A_FILE = 8_000


@pytest.mark.parametrize("seed", range(IMPRESSION_LINES // A_FILE))
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
    report = convert_mind(train, "tiny", valid=valid, output=tmp_path / "out", on_error="skip")

    kept = read(tmp_path / "out" / "tiny" / "tiny.train.inter")
    assert kept == expected_impressions(content)
    skipped = report["skipped_lines"]["total"]
    assert report["impressions"]["train"]["impressions"] == len(kept)
    assert len(kept) + skipped == len(lines_of(content))
    assert min(len(kept), skipped) > A_FILE / 20  # enough lines are corrupted, and not too many


@pytest.mark.parametrize("seed", range(NEWS_LINES // A_FILE))
def test_no_corrupted_article_is_lost_or_changed_without_a_count(
    write_mind: WriteMind, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(1000 + seed)
    train, good = write_mind(), [f"{line}\n".encode() for line in NEWS]
    base = 'N%d\tsports\tgolf\tA "title"\tAn abstract\thttp://a\t[]\t[]'
    spoilt = [
        spoil((base % rng.randrange(10, 99_999)).encode(), rng) + b"\n" for _ in range(A_FILE)
    ]
    content = b"".join([*good, *spoilt])
    (train / "news.tsv").write_bytes(content)
    report = convert_mind(train, "tiny", output=tmp_path / "out", on_error="skip")

    first, used = expected_news(content)
    assert read(tmp_path / "out" / "tiny" / "tiny.item") == as_written(first)
    assert report["news"]["rows"] == {str(train / "news.tsv"): used}
    assert used + report["skipped_lines"]["total"] == len(lines_of(content))
    repeats = (count for name, count in report["news"].items() if name.startswith("repeated_"))
    assert used - len(first) == sum(repeats)


@pytest.mark.parametrize("seed", range(BODY_LINES // A_FILE))
def test_no_corrupted_body_is_lost_or_changed_without_a_count(
    write_mind: WriteMind, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(2000 + seed)
    bodies = tmp_path / "bodies.tsv"
    spoilt = [
        spoil(f"N{rng.choice((1, 2, 3, 44))}\ttitle\tThe body of it.".encode(), rng) + b"\n"
        for _ in range(A_FILE)
    ]
    content = b"".join(spoilt)
    bodies.write_bytes(content)
    report = convert_mind(
        write_mind(), "tiny", bodies=bodies, output=tmp_path / "out", on_error="skip"
    )
    first, used = expected_bodies(content, {line.split("\t")[0] for line in NEWS})
    assert report["bodies"]["rows"] == used
    assert used + report["skipped_lines"]["total"] == len(lines_of(content))
    written = {row[0]: row[5] for row in read(tmp_path / "out" / "tiny" / "tiny.item")}
    assert {key: text.replace("\r", " ") for key, text in first.items()} == {
        key: text for key, text in written.items() if key in first
    }
