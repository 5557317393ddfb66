"""Formats other than MIND read a second time, plainly: what a conversion must keep of bad lines.

The test of the readers and ``benchmarks/reliability`` share it.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from mind_folder import IMPRESSIONS, NEWS
from plain_mind import is_id, lines_of, plain_columns, plain_impression, read, spoil

from recbole_tinynews.convert import convert_news

USERS = 97  # of a log: no user has so many clicks that a plain history takes long


class Counted(NamedTuple):
    """Lines given, kept and skipped by the converter, and what differs from the plain reader."""

    given: int
    kept: int
    skipped: int
    failures: list[str]


class Format(NamedTuple):
    """A good line, and the comparison of a conversion of many bad ones."""

    line: Callable[[int, random.Random], bytes]
    compare: Callable[[bytes, Path], Counted]
    quotes: bool = True  # whether lines with quotes are compared too


def spoilt(name: str, count: int, rng: random.Random) -> bytes:
    """So many bad lines of a format, some of which are good all the same."""
    kind = FORMATS[name]
    lines = []
    for number in range(count):
        good = kind.line(number, rng)
        bad = spoil(good, rng)
        lines.append((bad if kind.quotes or b'"' not in bad else good) + b"\n")
    return b"".join(lines)


def text_of(value: object) -> bool:
    text = str(value)
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def id_in(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and text_of(value) and is_id(value) else None


def seconds_in(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and (not value.isascii() or "_" in value or value.strip() != value):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = iso_seconds_in(str(value))
    inside = math.isfinite(number) and -62_135_596_800 <= number < 100_000_000_000
    return math.floor(number) if inside else None


def iso_seconds_in(text: str) -> float:
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=timezone.utc).timestamp()
        except ValueError:
            continue
    return math.nan


class Click(NamedTuple):
    time: int
    user: str
    article: str


def clicks_as_written(clicks: list[Click]) -> Iterator[list[Any]]:
    """User, time, history and clicked articles of each click, in the order of time."""
    past: dict[str, list[Click]] = {}
    for click in sorted(clicks, key=lambda each: each.time):
        before = past.setdefault(click.user, [])
        history = " ".join(each.article for each in before if each.time < click.time)
        yield [click.user, str(click.time), history, {click.article}]
        before.append(click)


def written(place: Path, *splits: str) -> list[list[Any]]:
    """User, time, history and clicked articles of each row."""
    rows = [row for split in splits for row in read(place / "out" / "x" / f"x.{split}.inter")]
    return [
        [*row[1:4], {n for n, label in zip(row[4].split(), row[5].split()) if label == "1"}]  # noqa: B905
        for row in rows
    ]


def differences(found: list[Any], expected: list[Any]) -> list[str]:
    """At most one line: how many rows differ, and the first."""
    if found == expected:
        return []
    pairs = zip(found, expected, strict=False)
    first = next(((a, b) for a, b in pairs if a != b), "one has more rows")
    return [f"{len(found)} rows written, {len(expected)} expected, first difference {first!r:.300}"]


def convert(train: Path, place: Path, **more: Any) -> dict[str, Any]:
    given = {"valid": 0.5, "output": place / "out", "on_error": "skip", **more}
    return convert_news(train, "x", **given)


def new_file(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    return path


# Adressa


def event_line(number: int, rng: random.Random) -> bytes:
    user, time = f"cx:{rng.randrange(USERS)}", 1_483_225_200 + number * 7
    event = {"eventId": number, "userId": user, "time": time, "id": f"a{rng.randrange(500)}"}
    if rng.randrange(5) == 0:
        del event["id"]
    return json.dumps({**event, "title": "En tittel", "category1": "nyheter|by"}).encode()


def compare_events(content: bytes, place: Path) -> Counted:
    report = convert(new_file(place / "day", content), place, format="adressa", sampled=1)
    clicks, elsewhere = [], 0
    for line in lines_of(content):
        try:
            event = None if b"\0" in line else json.loads(line.decode())
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            continue
        if event.get("id") in (None, ""):
            elsewhere += 1
            continue
        time, names = (
            seconds_in(event.get("time")),
            [id_in(event.get("userId")), id_in(event["id"])],
        )
        texts = [event.get("title", ""), event.get("category1", "")]
        if time is not None and None not in names and all(map(text_of, texts)):
            clicks.append(Click(time, *names))
    rows = written(place, "train", "valid")
    failures = differences(
        sorted(rows, key=by_time), sorted(clicks_as_written(clicks), key=by_time)
    )
    if report["adressa"]["events_without_article"] != elsewhere:
        failures.append(f"{elsewhere} events without article, {report['adressa']} in the report")
    skipped = report["skipped_lines"]["total"]
    return Counted(len(lines_of(content)), len(rows) + elsewhere, skipped, failures)


def by_time(row: list[Any]) -> tuple[int, str, str]:
    return int(row[1]), row[0], str(sorted(row[3]))


# A table of one's own

HEADER = b"user,time,clicked,title\n"


def table_line(number: int, rng: random.Random) -> bytes:
    user, article = rng.randrange(USERS), rng.randrange(500)
    return b"u%d,%d,n%d,A title" % (user, 1_700_000_000 + number * 7, article)


def compare_table(content: bytes, place: Path) -> Counted:
    report = convert(new_file(place / "t.csv", HEADER + content), place, format="table", sampled=1)
    clicks = []
    for line in lines_of(content):
        try:
            text = line.rstrip(b"\r").decode()
        except UnicodeDecodeError:
            continue
        fields = text.split(",")
        if "\0" in text or "\r" in text or len(fields) != 4:
            continue
        time, names = seconds_in(fields[1]), [id_in(fields[0]), id_in(fields[2])]
        if time is not None and None not in names:
            clicks.append(Click(time, *names))
    rows = written(place, "train", "valid")
    failures = differences(
        sorted(rows, key=by_time), sorted(clicks_as_written(clicks), key=by_time)
    )
    return Counted(len(lines_of(content)), len(rows), report["skipped_lines"]["total"], failures)


# xMIND


def translation_line(number: int, rng: random.Random) -> bytes:
    return b"N%d\tUn titlu\tUn rezumat" % (number if rng.randrange(9) else 1 + number % 3)


def compare_translations(content: bytes, place: Path) -> Counted:
    train = place / "train"
    new_file(train / "behaviors.tsv", "".join(f"{row}\n" for row in IMPRESSIONS).encode())
    new_file(train / "news.tsv", "".join(f"{row}\n" for row in NEWS).encode())
    translated = new_file(place / "ron.tsv", content)
    report = convert(train, place, format="xmind", news=[translated])
    texts: dict[str, list[str]] = {}
    kept = again = 0
    for line in lines_of(content):
        fields = plain_columns(line, 3)
        if fields is not None and is_id(fields[0]):
            kept += 1
            again += texts.setdefault(fields[0], fields[1:]) != fields[1:]
    expected = []
    for name, category, subcategory, *own in (row.split("\t")[:5] for row in NEWS):
        shown = [text.replace("\r", " ") for text in texts.get(name, own)]
        expected.append([name, category, subcategory, *shown])
    failures = differences(read(place / "out" / "x" / "x.item"), expected)
    if report["xmind"]["translations"] != len(texts):
        failures.append(f"{len(texts)} translations, {report['xmind']} in the report")
    if report["xmind"]["translated_differently_again"] != again:
        failures.append(f"{again} translated again, {report['xmind']} in the report")
    return Counted(len(lines_of(content)), kept, report["skipped_lines"]["total"], failures)


# PENS

PENS_NEWS = b"N1\tsports\tsoccer\tA title\tA body.\t{}\t{}\n"
PENS_GOOD = b"U1\tN1\t1\tx\tN1\tN2\t7/3/2019 6:43:49 AM\tx\t1\n"
PENS_LATER = b"U1\tN1\t1\tx\tN1\tN2\t7/4/2019 6:43:49 AM\tx\t1\n"


def pens_line(number: int, rng: random.Random) -> bytes:
    return (
        b"U%d\tN1 N2\t1 2\tx#TAB#y\tN3\tN2 N1\t7/3/2019 6:43:49 AM\t7/3/2019 7:06:06 AM\t34"
        % number
    )


def compare_pens(content: bytes, place: Path) -> Counted:
    new_file(place / "news.tsv", PENS_NEWS)
    content = PENS_GOOD + PENS_LATER + content
    report = convert(new_file(place / "train.tsv", content), place, format="pens", valid="last-day")
    expected = []
    for line in lines_of(content):
        fields = plain_columns(line, 9)
        if fields is None:
            continue
        user, history, _, _, clicked, unclicked, start, _, _ = fields
        shown = [f"{n}-{label}" for ids, label in ((clicked, 1), (unclicked, 0)) if ids
                 for n in ids.split(" ")]  # fmt: skip
        row = plain_impression("\t".join(["1", user, start, history, " ".join(shown)]).encode())
        if row is not None and shown:
            pairs = zip(row[4].split(), row[5].split(), strict=True)
            expected.append([*row[1:4], {name for name, label in pairs if label == "1"}])
    rows = written(place, "train", "valid")
    failures = differences(sorted(rows, key=by_time), sorted(expected, key=by_time))
    return Counted(len(lines_of(content)), len(rows), report["skipped_lines"]["total"], failures)


FORMATS = {
    "adressa": Format(event_line, compare_events),
    "table": Format(table_line, compare_table, quotes=False),
    "xmind": Format(translation_line, compare_translations),
    "pens": Format(pens_line, compare_pens),
}
