"""Mutated lines of MIND's files, converted under ``--on-error=skip`` and counted independently."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mind_folder import IMPRESSIONS, NEWS
from outcome import Outcome
from plain_mind import (
    as_written,
    expected_bodies,
    expected_impressions,
    expected_news,
    lines_of,
    read,
    spoil,
)
from synthetic import Settings, generate
from tqdm import tqdm

from recbole_tinynews.convert import convert_mind

AT_ONCE = 20_000
SHARES = {"impressions": 0.6, "news": 0.3, "bodies": 0.1}
GOOD = {"behaviors.tsv": IMPRESSIONS, "news.tsv": NEWS}


class Counted(NamedTuple):
    """Lines given, kept and skipped by the converter, and what differs from the plain reader."""

    given: int
    kept: int
    skipped: int
    failures: list[str]


def measure(folder: Path, count: int, seed: int, mind: Path | None) -> Outcome:
    """Mutate and convert so many lines; ``mind`` has the originals, else synthetic ones."""
    if mind is None:
        generate(folder / "raw", Settings(news=2_000, users=500, impressions=2_000))
        mind = folder / "raw" / "train"
    originals = {
        "impressions": (mind / "behaviors.tsv").read_bytes().splitlines(),
        "news": (mind / "news.tsv").read_bytes().splitlines(),
    }
    originals["bodies"] = [_body(line) for line in originals["news"]]
    rng = random.Random(seed)
    figures: Counter[str] = Counter()
    failures: list[str] = []
    with tqdm(total=count, unit=" lines", mininterval=5) as bar:
        for kind, size in _batches(count):
            content = b"".join(_mutated(kind, originals[kind], size, rng))
            place = folder / "batch"
            found = KINDS[kind](content, place)
            shutil.rmtree(place)
            figures.update({"mutated lines": size, f"{kind} kept": found.kept})
            figures[f"{kind} skipped"] += found.skipped
            if found.kept + found.skipped != found.given:
                failures.append(f"{kind}: {found.given} lines, {found.kept} + {found.skipped}")
            failures += [f"{kind}: {failure}" for failure in found.failures]
            bar.update(size)
    return Outcome(dict(figures), failures)


def _batches(count: int) -> Iterator[tuple[str, int]]:
    for kind, share in SHARES.items():
        left = round(count * share)
        while left > 0:
            yield kind, min(left, AT_ONCE)
            left -= AT_ONCE


def _mutated(kind: str, originals: list[bytes], count: int, rng: random.Random) -> Iterator[bytes]:
    """Lines with ids of their own; some articles occur twice."""
    for number in range(count):
        line = rng.choice(originals)
        if kind == "impressions":
            line = b"%d\t%b" % (100 + number, line.partition(b"\t")[2])
        elif kind == "bodies":
            line = b"N%d\t%b" % (rng.choice((1, 2, 3, 44)), line.partition(b"\t")[2])
        yield spoil(line, rng) + b"\n"


def _body(news: bytes) -> bytes:
    """A line of a file of bodies: id, title, abstract."""
    fields = news.split(b"\t")
    return b"\t".join((fields[0], fields[3], fields[4]))


def _write(place: Path, **contents: bytes) -> Path:
    """A folder of MIND's files, good ones but for those given."""
    train = place / "train"
    train.mkdir(parents=True)
    for name, rows in GOOD.items():
        good = "".join(f"{row}\n" for row in rows).encode()
        (train / name).write_bytes(good + contents.get(name.partition(".")[0], b""))
    return train


def _impressions(content: bytes, place: Path) -> Counted:
    train = _write(place, behaviors=content)
    valid = _write(place / "good")
    report = convert_mind(train, "m", valid=valid, output=place / "out", on_error="skip")
    given = (train / "behaviors.tsv").read_bytes()
    kept = read(place / "out" / "m" / "m.train.inter")
    skipped = report["skipped_lines"]["total"]
    failures = _differences(kept, expected_impressions(given))
    if report["impressions"]["train"]["impressions"] != len(kept):
        failures.append("the report counts other impressions than are written")
    return Counted(len(lines_of(given)), len(kept), skipped, failures)


def _news(content: bytes, place: Path) -> Counted:
    train = _write(place, news=content)
    report = convert_mind(train, "m", valid=0.5, output=place / "out", on_error="skip")
    given = (train / "news.tsv").read_bytes()
    articles, used = expected_news(given)
    failures = _differences(read(place / "out" / "m" / "m.item"), as_written(articles))
    (rows,) = report["news"]["rows"].values()
    if rows != used:
        failures.append(f"the report has {rows} rows, the plain reader {used}")
    return Counted(len(lines_of(given)), rows, report["skipped_lines"]["total"], failures)


def _bodies(content: bytes, place: Path) -> Counted:
    train, bodies = _write(place), place / "bodies.tsv"
    bodies.write_bytes(content)
    report = convert_mind(
        train, "m", valid=0.5, bodies=bodies, output=place / "out", on_error="skip"
    )
    known = {line.split("\t")[0] for line in NEWS}
    texts, used = expected_bodies(content, known)
    written = {row[0]: row[5] for row in read(place / "out" / "m" / "m.item")}
    expected = [[name, text.replace("\r", " ")] for name, text in texts.items() if name in known]
    failures = _differences([[name, written[name]] for name, _ in expected], expected)
    rows = report["bodies"]["rows"]
    if rows != used:
        failures.append(f"the report has {rows} rows, the plain reader {used}")
    return Counted(len(lines_of(content)), rows, report["skipped_lines"]["total"], failures)


def _differences(written: list[list[str]], expected: list[list[str]]) -> list[str]:
    """At most one line: how many rows differ, and the first."""
    if written == expected:
        return []
    pairs = zip(written, expected, strict=False)
    first = next(((a, b) for a, b in pairs if a != b), "one has more rows")
    return [
        f"{len(written)} rows written, {len(expected)} expected, first difference {first!r:.300}"
    ]


KINDS = {"impressions": _impressions, "news": _news, "bodies": _bodies}
