"""Mutated impressions of MIND, converted under ``--on-error=skip`` and read a second time.

Lines of articles and bodies: ``mutated_formats``.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from mind_folder import IMPRESSIONS, NEWS
from outcome import Outcome
from plain_mind import expected_impressions, lines_of, read, spoil
from synthetic import Settings, generate
from tqdm import tqdm

from recbole_tinynews.convert import convert_news

AT_ONCE = 20_000
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
    originals = (mind / "behaviors.tsv").read_bytes().splitlines()
    rng = random.Random(seed)
    figures: Counter[str] = Counter()
    failures: list[str] = []
    with tqdm(total=count, unit=" lines", mininterval=5) as bar:
        for start in range(0, count, AT_ONCE):
            size = min(AT_ONCE, count - start)
            lines = (_mutated(rng.choice(originals), number, rng) for number in range(size))
            counted = _converted(b"".join(lines), folder / "batch")
            shutil.rmtree(folder / "batch")
            figures.update({"mutated lines": size, "kept": counted.kept})
            figures["skipped"] += counted.skipped
            if counted.kept + counted.skipped != counted.given:
                failures.append(f"{counted.given} lines, {counted.kept} + {counted.skipped}")
            failures += counted.failures
            bar.update(size)
    return Outcome(dict(figures), failures)


def _mutated(line: bytes, number: int, rng: random.Random) -> bytes:
    """A line with an id of its own, spoiled."""
    return spoil(b"%d\t%b" % (100 + number, line.partition(b"\t")[2]), rng) + b"\n"


def _write(place: Path, impressions: bytes = b"") -> Path:
    """A folder of MIND's files, with these impressions after the good ones."""
    place.mkdir(parents=True)
    for name, rows in GOOD.items():
        good = "".join(f"{row}\n" for row in rows).encode()
        (place / name).write_bytes(good + (impressions if name == "behaviors.tsv" else b""))
    return place


def _converted(content: bytes, place: Path) -> Counted:
    train = _write(place / "train", content)
    valid = _write(place / "good")
    report = convert_news(train, "m", valid=valid, output=place / "out", on_error="skip")
    given = (train / "behaviors.tsv").read_bytes()
    kept = read(place / "out" / "m" / "m.train.inter")
    failures = _differences(kept, expected_impressions(given))
    if report["impressions"]["train"]["impressions"] != len(kept):
        failures.append("the report counts other impressions than are written")
    skipped = report["skipped_lines"]["total"]
    return Counted(len(lines_of(given)), len(kept), skipped, failures)


def _differences(written: list[list[str]], expected: list[list[str]]) -> list[str]:
    """At most one line: how many rows differ, and the first."""
    if written == expected:
        return []
    pairs = zip(written, expected, strict=False)
    first = next(((a, b) for a, b in pairs if a != b), "one has more rows")
    return [
        f"{len(written)} rows written, {len(expected)} expected, first difference {first!r:.300}"
    ]
