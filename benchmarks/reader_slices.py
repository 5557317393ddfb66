"""AUC of the suite ``reader`` for new articles, article pages and the impressions not seen before.

    python benchmarks/reader_slices.py --data=OUT/ebnerd-reader --seen=EBNERD/dev/behaviors.tsv
        [--results=benchmarks/results/ebnerd-reader]

``--data`` is the folder of the atomic files, ``--seen`` MIND's file of the impressions by which
earlier designs were tuned. Prints one line per row, means over its seeds, in percent.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

HOUR = 3600
NAME = re.compile(r"(.*)-\d{4}-\w+\.npz")  # system, seed, fingerprint


def read_impressions(folder: Path, split: str) -> pd.DataFrame:
    """Rows of a split, with the columns' names alone."""
    file = folder / f"{folder.name}.{split}.inter"
    table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
    return table.rename(columns=lambda name: name.partition(":")[0])


def slices(folder: Path, seen: Path) -> dict[str, NDArray[np.bool_]]:
    """Which test impressions belong to each slice."""
    splits = [read_impressions(folder, split) for split in ("train", "valid", "test")]
    log, test = pd.concat(splits, ignore_index=True), splits[-1]
    times = log["timestamp"].astype(float).to_numpy()
    first: dict[str, float] = {}
    has_clicked: set[str] = set()
    cold, new = np.zeros((2, len(log)), bool)
    for row in np.argsort(times, kind="stable"):
        candidates = log["candidates"][row].split()
        for article in candidates:
            first.setdefault(article, times[row])
        labels = map(float, log["labels"][row].split())
        clicked = [a for a, label in zip(candidates, labels, strict=True) if label == 1]
        new[row] = any(times[row] - first[article] < HOUR for article in clicked)
        user = log["user_id"][row]
        cold[row] = not log["history"][row].strip() and user not in has_clicked
        has_clicked |= {user} if clicked else set()
    known = pd.read_csv(seen, sep="\t", header=None, usecols=[0], dtype=str)[0]
    on_page, was_seen = test["context_article"] != "", test["impression_id"].isin(known)
    ours = slice(-len(test), None)
    return {
        "all": np.ones(len(test), bool),
        "new article": new[ours],
        "no click before": cold[ours],
        "article page": on_page.to_numpy(),
        "elsewhere": ~on_page.to_numpy(),
        "not seen": ~was_seen.to_numpy(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seen", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/ebnerd-reader"))
    given = parser.parse_args()
    chosen = slices(given.data, given.seen)
    print("impressions: " + ", ".join(f"{name} {int(s.sum()):,}" for name, s in chosen.items()))
    by_system = defaultdict(list)
    for file in sorted((given.results / "impressions").glob("*.npz")):
        if match := NAME.fullmatch(file.name):
            with np.load(file) as kept:
                by_system[match[1]].append(kept["values"][:, 0])
    for system, seeds in by_system.items():
        values = np.mean(seeds, axis=0)
        shown = (
            f"{name} {100 * np.nanmean(values[s]):.2f}" for name, s in chosen.items() if s.any()
        )
        print(f"{system} ({len(seeds)} seeds): {', '.join(shown)}")


if __name__ == "__main__":
    main()
