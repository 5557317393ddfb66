"""Mutated lines of formats other than MIND's, as ``mutated_lines``."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

from outcome import Outcome
from spoiled_formats import FORMATS, check, spoiled
from tqdm import tqdm

AT_ONCE = 10_000


def measure(folder: Path, count: int, seed: int) -> Outcome:
    """Mutate and convert so many lines, of each format as many."""
    rng = random.Random(seed)
    figures: Counter[str] = Counter()
    failures: list[str] = []
    with tqdm(total=count, unit=" lines", mininterval=5) as bar:
        for name in FORMATS:
            left = count // len(FORMATS)
            while left > 0:
                size = min(left, AT_ONCE)
                found = check(name, spoiled(name, size, rng), folder / "batch")
                shutil.rmtree(folder / "batch")
                figures.update({"mutated lines": size, f"{name} kept": found.kept})
                figures[f"{name} skipped"] += found.skipped
                if found.kept + found.skipped != found.given:
                    failures.append(f"{name}: {found.given}, {found.kept} + {found.skipped}")
                failures += [f"{name}: {failure}" for failure in found.failures]
                left -= size
                bar.update(size)
    return Outcome(dict(figures), failures)
