"""Every file of a finished Tiny-NewsRec damaged: the same command has to name and remake it."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import commands
from outcome import Outcome
from tqdm import tqdm

MODEL, CACHE = "TinyNewsRec", "cache"
CHOSEN = {"use_cache": True, "plm_dropout": 0.2}


class Case(NamedTuple):
    """Files, by their paths in the folder, and how each of them is damaged.

    One file of a stage, which the same command reads to reuse it; or one file of each part of the
    cache, all of which a training reads.
    """

    files: tuple[str, ...]
    damage: str
    seed: int
    cached: bool


def measure(folder: Path, scale: float, seed: int, jobs: int) -> Outcome:
    """Damage the files in turn; ``scale`` is the share of the cases that are tried."""
    tiny = commands.tiny_world(folder / "tiny")
    whole = commands.prepare(tiny, MODEL, folder / "whole", **CHOSEN)
    commands.run(whole)
    expected = commands.contents(whole)
    files = [n for n in expected if n.startswith("saved/")]
    rng = random.Random(seed)
    cases = list(_cases(files, rng))
    if scale < 1:
        cases = rng.sample(cases, max(2, round(scale * len(cases))))
    tasks = [(case, whole, folder / f"damaged-{n}", expected) for n, case in enumerate(cases)]
    failures: list[str] = []
    damaged: Counter[str] = Counter()
    with tqdm(total=len(cases), unit=" runs", mininterval=5) as bar:
        for found in commands.side_by_side(_tried, tasks, jobs):
            damaged.update(found.figures)
            failures += found.failures
            bar.update()
    of_cache = sum(map(_of_cache, files))
    figures: dict[str, int | float] = {
        "files of stages": len(files) - of_cache,
        "files of the cache": of_cache,
    }
    figures |= {"runs": len(cases), **damaged}
    return Outcome(figures, failures)


def _of_cache(name: str) -> bool:
    return CACHE in Path(name).parts


def _cases(files: list[str], rng: random.Random) -> Iterator[Case]:
    of_stages = [(name,) for name in files if not _of_cache(name)]
    for how in ("zeroed", "cut", "deleted", "flipped"):
        for cached, groups in ((False, of_stages), (True, _rounds(files))):
            for group in groups:
                yield Case(group, how, rng.randrange(2**32), cached)


def _rounds(files: list[str]) -> list[tuple[str, ...]]:
    """Each cached file once; of a folder or table, which is made as a whole, one in a round."""
    parts: dict[str, list[str]] = {}
    for name in filter(_of_cache, files):
        parts.setdefault(_part(name), []).append(name)
    rounds = zip_longest(*parts.values())
    return [tuple(name for name in group if name is not None) for group in rounds]


def _part(name: str) -> str:
    """The folder of arrays or the table, which has a checksum beside it, of a cached file."""
    path = Path(name)
    return path.stem if path.parent.name == CACHE else path.parent.name


def _tried(case: Case, whole: Path, place: Path, expected: dict[str, Any]) -> Outcome:
    """Damage the files in a copy of the folder, and run the same command there."""
    shutil.copytree(whole, place)
    changed = [name for name in case.files if damage(place / name, case.damage, case.seed)]
    found = _wrong(case, changed, place, expected) if changed else ()
    failures = [f"{', '.join(changed)} {case.damage}: {what}" for what in found]
    shutil.rmtree(place)
    return Outcome({f"files {case.damage}": len(changed)}, failures)


def _wrong(case: Case, changed: list[str], place: Path, expected: dict[str, Any]) -> Iterator[str]:
    """What is wrong after the same command; what is cached is read when all stages are trained."""
    try:
        told = commands.run(place, *(["--fresh"] if case.cached else []))
    except commands.FailedCommandError as problem:
        yield str(problem)
        return
    for name in changed:
        if case.damage == "deleted" and Path(name).name == "metrics.json":
            continue  # the stage counts as unfinished
        if (_part(name) if case.cached else Path(name).name) not in told:
            yield f"{name} is not named"
    yield from commands.differences(commands.contents(place), expected)


def damage(file: Path, how: str, seed: int) -> bool:
    """Damage the file; False if that leaves it as it was."""
    before = file.read_bytes()
    rng = random.Random(seed)
    if how == "deleted":
        file.unlink()
        return True
    after = bytearray(before)
    if how == "flipped" and after:
        after[rng.randrange(len(after))] ^= 1 << rng.randrange(8)
    elif how == "cut" and after:  # of its content, not of the line end after it
        del after[rng.randrange(len(after.rstrip()) or 1) :]
    elif how == "zeroed":
        after = bytearray(len(after))
    file.write_bytes(after)
    return after != before
