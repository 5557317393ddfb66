"""Corrupted lines of each format but MIND (see ``test_fuzz``), and corrupted files of all."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from good_places import GOOD
from plain_formats import FORMATS, compare_table, new_file, spoilt
from plain_mind import read, spoil

from recbole_tinynews.convert import ConversionError, convert_news

A_FILE = 4_000


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", FORMATS)
def test_no_corrupted_line_is_lost_or_changed_without_a_count(
    tmp_path: Path, name: str, seed: int
) -> None:
    content = spoilt(name, A_FILE, random.Random(f"{name} {seed}"))
    counted = FORMATS[name].compare(content, tmp_path)
    assert counted.failures == []
    assert counted.kept + counted.skipped == counted.given
    assert min(counted.kept, counted.skipped) > A_FILE / 20


def test_no_line_of_a_table_is_lost_where_quotes_are_broken(tmp_path: Path) -> None:
    """An open quote takes the lines after it: they are counted, as lines."""
    rng = random.Random(0)
    lines = [FORMATS["table"].line(number, rng) for number in range(2_000)]
    for place in range(5, 2_000, 400):
        lines[place] = lines[place].replace(b"A title", b'"A title')
    counted = compare_table(b"\n".join(lines) + b"\n", tmp_path)
    assert counted.kept + counted.skipped == counted.given


ROWS = (
    {"impression_id": 7, "user_id": 1, "impression_time": 1_684_000_000}
    | {"article_ids_inview": [1, 2, 3], "article_ids_clicked": [2]},
    {"user_id": 1, "article_id_fixed": [3, 1], "impression_time_fixed": [5, 9]},
    {"article_id": 4, "title": "En titel", "subtitle": "x", "body": "y", "category": 3}
    | {"category_str": "sport", "subcategory": [7]},
)
VALUES = (None, None, -1, 0, 1, 7, 2**15 - 1, [], [None], [1], [2, 2], [9, 1], "a", "a b", "\0")


def corrupted(row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The row with one cell of another value, as far as its column can hold it."""
    name = rng.choice(list(row))
    value = rng.choice(VALUES)
    is_list = isinstance(row[name], list)
    kind = str if isinstance(row[name], str) else int
    if value is not None and (is_list != isinstance(value, list) or not (
        is_list or isinstance(value, kind)
    )):  # fmt: skip
        return row
    if isinstance(value, int) and value < 0:
        return row  # published ids are unsigned
    return {**row, name: value}


def good_ids(cell: list[int | None] | None) -> bool:
    return cell is not None and None not in cell


def good_impression(row: dict[str, Any]) -> bool:
    shown, clicked = row["article_ids_inview"], row["article_ids_clicked"]
    single = (row["impression_id"], row["user_id"], row["impression_time"])
    return (
        None not in single
        and good_ids(shown)
        and good_ids(clicked)
        and shown != []
        and set(clicked) <= set(shown)
    )


@pytest.mark.parametrize("seed", range(2))
def test_no_corrupted_row_of_parquet_is_lost_or_changed_without_a_count(
    tmp_path: Path, seed: int
) -> None:
    pytest.importorskip("pyarrow")
    from ebnerd_folder import of_seconds, write_ebnerd

    rng = random.Random(seed)
    impression, history, article = ROWS
    impressions, histories, news = [], [], []
    for number in range(1_500):
        time = 1_684_000_000 + number
        row = {**impression, "impression_id": number, "user_id": number, "impression_time": time}
        impressions.append(corrupted(row, rng))
        histories.append(corrupted({**history, "user_id": number}, rng))
        news.append(corrupted({**article, "article_id": 10 + number}, rng))

    def timed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                name: [None if v is None else of_seconds(v) for v in value]
                if isinstance(value, list) and "time" in name
                else of_seconds(value)
                if value is not None and "time" in name
                else value
                for name, value in row.items()
            }
            for row in rows
        ]

    place = write_ebnerd(tmp_path / "eb", timed(impressions), timed(histories), news)
    report = convert_news(
        place, "x", format="ebnerd", valid=0.5, output=tmp_path / "out", on_error="skip"
    )
    past: dict[int, list[int]] = {}
    bad = 0
    for row in histories:
        clicks, times = row["article_id_fixed"], row["impression_time_fixed"]
        good = row["user_id"] is not None and row["user_id"] not in past and good_ids(clicks)
        if good and good_ids(times) and len(times) == len(clicks):
            in_order = sorted(zip(times, clicks, strict=True), key=lambda pair: pair[0])
            past[row["user_id"]] = [each for _, each in in_order]
        else:
            bad += 1
    expected: dict[int, list[str]] = {}
    for row in impressions:
        if not good_impression(row) or row["impression_id"] in expected:
            bad += 1
            continue
        shown, user = row["article_ids_inview"], row["user_id"]
        labels = [str(int(each in row["article_ids_clicked"])) for each in shown]
        lists = (past.get(user, []), shown, labels)
        expected[row["impression_id"]] = [
            *map(str, (row["impression_id"], user, row["impression_time"])),
            *(" ".join(map(str, each)) for each in lists),
        ]
    kept: dict[int, dict[str, Any]] = {}
    for row in news:
        texts = [row[name] for name in ("title", "subtitle", "body", "category_str")]
        name = row["article_id"]
        if name is None or "\0" in texts or conflicts(kept.get(name), row):
            bad += 1
        else:
            kept.setdefault(name, row)
    rows = [
        row for split in ("train", "valid") for row in read(tmp_path / f"out/x/x.{split}.inter")
    ]
    by_id = sorted((row[:6] for row in rows), key=lambda row: int(row[0]))
    assert by_id == [expected[number] for number in sorted(expected)]
    assert report["news"]["distinct"] == len(kept)
    assert report["skipped_lines"]["total"] == bad > 300


def conflicts(known: dict[str, Any] | None, row: dict[str, Any]) -> bool:
    """Whether two rows of one article differ in a text that both have."""
    if known is None:
        return False

    def texts(of: dict[str, Any]) -> list[str]:
        category = of["category_str"] or of["category"]
        subcategory = (of["subcategory"] or [None])[0]
        cells = (category, subcategory, of["title"], of["subtitle"], of["body"])
        return ["" if cell is None else str(cell) for cell in cells]

    pairs = zip(texts(known), texts(row), strict=True)
    return any(old and new and old != new for old, new in pairs)


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
            new_file(path, changed)
            try:
                convert_news(good.train, "x", on_error=("skip", "stop")[number % 2], **given)
            except ConversionError as error:
                refused.append((str(path), str(error)))
            assert not list((tmp_path / "out").glob(".*"))
        new_file(path, content)
    assert all(path in message or "--valid" in message for path, message in refused)
    assert len(refused) > 20
