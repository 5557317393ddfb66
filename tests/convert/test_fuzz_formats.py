"""Corrupted lines of each format, and corrupted files.

What is kept of MIND's impressions must be exactly what a plain parser accepts, written from the
format; of the others, what is skipped must leave no trace. All is counted: kept + skipped == given.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from good_places import GOOD
from mind_folder import IMPRESSIONS, WriteMind
from plain_mind import expected_impressions, lines_of, read, spoil
from spoiled_formats import FORMATS, check, convert_skipping, records, spoiled

from recbole_tinynews.convert import ConversionError, convert_news

A_FILE, OF_MIND = 3_000, 8_000


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
    spoilt = [spoil(rng.choice(bases) % (100 + i), rng) + b"\n" for i in range(OF_MIND)]
    content = b"".join([*good, *spoilt])
    (train / "behaviors.tsv").write_bytes(content)
    valid = write_mind(name="valid")
    report = convert_news(train, "tiny", valid=valid, output=tmp_path / "out", on_error="skip")

    kept = read(tmp_path / "out" / "tiny" / "tiny.train.inter")
    assert kept == expected_impressions(content)
    skipped = report["skipped_lines"]["total"]
    assert report["impressions"]["train"]["impressions"] == len(kept)
    assert len(kept) + skipped == len(lines_of(content))
    assert min(len(kept), skipped) > OF_MIND / 20  # enough lines are corrupted, and not too many


@pytest.mark.parametrize("name", FORMATS)
def test_no_corrupted_line_is_lost_or_leaves_a_trace(tmp_path: Path, name: str) -> None:
    lines = spoiled(name, A_FILE, random.Random(name))
    counted = check(name, lines, tmp_path)
    assert counted.failures == []
    assert counted.kept + counted.skipped == counted.given
    assert min(counted.kept, counted.skipped) > A_FILE / 20


def test_no_line_of_a_table_is_lost_where_quotes_are_broken(tmp_path: Path) -> None:
    """An open quote takes the lines after it: they are counted, as lines."""
    rng = random.Random(0)
    lines = [FORMATS["table"].line(number, rng) for number in range(2_000)]
    for place in range(5, 2_000, 400):
        lines[place] = lines[place].replace("A title", '"A title')
    table = tmp_path / "t.csv"
    table.write_text("".join(f"{line}\n" for line in ("user,time,clicked,title", *lines)))
    report = convert_news(table, "x", format="table", output=tmp_path, on_error="skip", valid=0.5)
    kept = sum(part["impressions"] for part in report["impressions"].values())
    assert kept + report["skipped_lines"]["total"] == 2_000


VALUES = (None, None, 0, 1, 7, 2**15 - 1, [], [None], [1], [2, 2], [9, 1], "a", "a b", "\0")


def corrupted(row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The row with one cell of another value, as far as its column can hold it."""
    name = rng.choice([name for name in row if "time" not in name])
    kind = type(row[name])
    value = rng.choice([value for value in VALUES if value is None or isinstance(value, kind)])
    return {**row, name: value}


def test_no_corrupted_row_of_parquet_is_lost_or_leaves_a_trace(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from ebnerd_folder import of_seconds, write_ebnerd

    rng = random.Random(0)
    times = [of_seconds(second) for second in (9, 5)]
    rows: dict[str, list[dict[str, Any]]] = {"behaviors": [], "history": [], "articles": []}
    for number in range(1_200):  # more users than are read at once
        impression = {"impression_id": number, "user_id": number}
        impression |= {"impression_time": of_seconds(1_684_000_000 + number)}
        impression |= {"article_ids_inview": [1, 2, 3], "article_ids_clicked": [2]}
        history = {"user_id": number, "article_id_fixed": [3, 1], "impression_time_fixed": times}
        article = {"article_id": 10 + number, "title": "En titel", "subtitle": "x", "body": "y"}
        article |= {"category": 3, "category_str": "sport", "subcategory": [7]}
        for file, row in zip(rows, (impression, history, article), strict=True):
            rows[file].append(corrupted(row, rng))
    given = {"format": "ebnerd", "valid": 0.5, "output": tmp_path / "out"}
    place = write_ebnerd(tmp_path / "eb", *rows.values())
    report, bad = convert_skipping(place, given)
    assert report["skipped_lines"]["total"] == len(bad) > 250
    written = records(tmp_path / "out" / "x")
    numbers = {(Path(path).stem, number) for path, number in bad}
    good = [
        [row for number, row in enumerate(rows[file], 1) if (file, number) not in numbers]
        for file in rows
    ]
    assert sum(part["impressions"] for part in report["impressions"].values()) == len(good[0])
    assert report["news"]["rows"] == {str(tmp_path / "eb" / "articles.parquet"): len(good[2])}
    convert_news(write_ebnerd(tmp_path / "eb", *good), "x", **given)
    assert records(tmp_path / "out" / "x") == written


def changes(content: bytes, count: int, rng: random.Random) -> Iterator[bytes]:
    """The content with its bytes corrupted, cut off, in another encoding, or gzipped and so on."""
    packed = gzip.compress(content, mtime=0)
    for _ in range(count):
        yield rng.choice(
            [
                spoil(content, rng),
                content[: rng.randrange(len(content))],
                content[: rng.randrange(len(content))] + b"\0" * rng.randrange(999),
                bytes(rng.randrange(256) for _ in range(rng.randrange(99))),
                content.decode("latin-1").encode(rng.choice(("utf-16", "utf-32"))),
                spoil(packed, rng),
                packed[: rng.randrange(len(packed))],
            ]
        )


@pytest.mark.parametrize("name", GOOD)
def test_a_corrupted_file_is_converted_or_refused_with_its_name(tmp_path: Path, name: str) -> None:
    """A traceback from zlib, csv or pyarrow tells nobody which file to copy again."""
    good, rng, refused = GOOD[name](tmp_path / "place"), random.Random(name), []
    given = {"format": name, "valid": 0.5, "output": tmp_path / "out", **good.given}
    for path in good.files.values():
        content = path.read_bytes()
        for number, changed in enumerate(changes(content, 120 // len(good.files), rng)):
            path.unlink()  # truncating and rewriting it would wait for the disk on ext4
            path.write_bytes(changed)
            try:
                convert_news(good.train, "x", on_error=("skip", "stop")[number % 2], **given)
            except ConversionError as error:
                refused.append((str(path), str(error)))
            assert not list((tmp_path / "out").glob(".*"))
        path.write_bytes(content)
    assert all(path in message or "--valid" in message for path, message in refused)
    assert len(refused) > 20
