"""Files of other formats than MIND's impressions with many bad rows: they leave no trace.

The test of the readers and ``benchmarks/reliability`` share it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from mind_folder import IMPRESSIONS, NEWS
from plain_mind import read, spoil

from recbole_tinynews.convert import convert_news

USERS = 97  # of a log


class Counted(NamedTuple):
    """Lines given, kept and skipped by the converter, and what was wrong."""

    given: int
    kept: int
    skipped: int
    failures: list[str]


def table_line(number: int, rng: random.Random) -> str:
    user, article = rng.randrange(USERS), rng.randrange(500)
    return f"u{user},{1_700_000_000 + number * 7},n{article},A title"


def article_line(number: int, rng: random.Random) -> str:
    title = rng.choice(("A title", "A  title", "Another", ""))
    return f"N{rng.randrange(1_000)}\tsports\tgolf\t{title}\tAn abstract\thttp://a\t[]\t[]"


def body_line(number: int, rng: random.Random) -> str:
    return f"N{rng.choice((1, 2, 3, 44))}\ttitle\tThe body of it."


class Format(NamedTuple):
    """A good line, the file of such lines, its header and the files beside it.

    ``flag`` names the file, if it is not what is converted but beside it.
    """

    line: Callable[[int, random.Random], str]
    file: str
    others: Mapping[str, Sequence[str]] = {}
    header: Sequence[str] = ()
    flag: str = ""
    format: str = "mind"


MIND = {"behaviors.tsv": IMPRESSIONS, "news.tsv": NEWS}
FORMATS = {
    "table": Format(table_line, "t.csv", header=["user,time,clicked,title"], format="table"),
    "articles": Format(article_line, "news.tsv", {"behaviors.tsv": IMPRESSIONS}),
    "bodies": Format(body_line, "bodies.tsv", MIND, flag="bodies"),
}


def spoiled(name: str, count: int, rng: random.Random) -> list[bytes]:
    """So many bad lines of a format, some of which are good all the same."""
    lines = []
    for number in range(count):
        good = FORMATS[name].line(number, rng).encode()
        bad = spoil(good, rng).replace(b"\n", b"")
        lines.append(good if name == "table" and b'"' in bad else bad)
    return lines


def check(name: str, lines: Sequence[bytes], place: Path) -> Counted:
    """Convert all lines; without those that were skipped, the result must be the same."""
    kind = FORMATS[name]
    for file, rows in kind.others.items():
        write_lines(place / file, [row.encode() for row in rows])
    header = [row.encode() for row in kind.header]
    given = {"format": kind.format, "output": place / "out", "valid": 0.5}
    if kind.flag:
        given[kind.flag] = place / kind.file
    train = place if "behaviors.tsv" in kind.others else place / kind.file
    write_lines(place / kind.file, [*header, *lines])
    report, bad = convert_skipping(train, given)
    written = records(place / "out" / "x")
    numbers = {number for path, number in bad if path == str(place / kind.file)}
    good = [line for number, line in enumerate(lines, len(header) + 1) if number not in numbers]
    write_lines(place / kind.file, [*header, *good])
    convert_news(train, "x", **given)  # the first line that is bad would stop it
    failures = [] if records(place / "out" / "x") == written else ["skipped lines left a trace"]
    kept = {
        "articles": sum(report["news"]["rows"].values()),
        "bodies": (report["bodies"] or {}).get("rows"),
    }
    impressions = sum(part["impressions"] for part in report["impressions"].values())
    kept = kept.get(name, impressions)
    return Counted(len(lines), kept, report["skipped_lines"]["total"], failures)


def convert_skipping(train: Path, given: dict[str, Any]) -> tuple[dict[str, Any], set]:
    """The report, and file and row of everything that was skipped."""
    with patch("recbole_tinynews.convert.errors.EXAMPLES", 1_000_000):
        report = convert_news(train, "x", on_error="skip", **given)
    kinds = report["skipped_lines"]["kinds"].values()
    named = [re.match(r"(.*?):(\d+): ", error) for kind in kinds for error in kind["examples"]]
    return report, {(match[1], int(match[2])) for match in named}


def records(folder: Path) -> list[list[Any]]:
    """Articles, and user, time, history and clicked articles of each impression."""
    rows = [row for split in ("train", "valid") for row in read(folder / f"x.{split}.inter")]
    pairs = [(row, zip(row[4].split(), row[5].split(), strict=True)) for row in rows]
    shown = [[*row[1:4], {name for name, label in own if label == "1"}] for row, own in pairs]
    return [*read(folder / "x.item"), *shown]


def write_lines(path: Path, lines: Sequence[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # truncating and rewriting it would wait for the disk on ext4
    path.write_bytes(b"".join(line + b"\n" for line in lines))
