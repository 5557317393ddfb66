"""Label leaks: overlapping splits, and clicks visible in the history."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from itertools import combinations, compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.bars import progress_bar
from recbole_tinynews.convert.atomic import InterRow, read_inter
from recbole_tinynews.convert.errors import EXAMPLES, ConversionError
from recbole_tinynews.convert.tally import Part
from recbole_tinynews.convert.timestamps import iso

NOTES = {
    "clicked_in_history": "clicks on news that are already in the history",
    "same_user_time_and_candidates": "impressions that occur in both splits",
    "same_id_user_and_time": "impressions whose id, user and time occur in both splits",
}


def check_order(parts: Mapping[str, Part]) -> None:
    """Raise ``ConversionError`` if the test set precedes the training set: they were swapped."""
    if "test" not in parts:
        return
    end, start = parts["test"].timestamps.max(), parts["train"].timestamps.min()
    if end < start:
        raise ConversionError(
            f"--test: expected impressions later than those of --train, got a test set that ends "
            f"({iso(int(end))}) before the training set starts ({iso(int(start))}). Swap --train "
            "and --test."
        )


def find_overlaps(
    parts: Mapping[str, Part], files: Mapping[str, Path], in_time: bool
) -> dict[str, dict[str, Any]]:
    """Report section on impressions that an earlier split has or, ``in_time``, that precede it."""
    overlaps: dict[str, dict[str, Any]] = {}
    for early, late in combinations(parts, 2):
        ours, theirs = parts[late], parts[early]
        found = {"shared": np.isin(ours.displays, theirs.displays)}
        if in_time:
            found["earlier"] = ours.timestamps < theirs.timestamps.max()
        for kind, mask in found.items():
            if mask.any():
                overlaps.setdefault(kind, {})[f"{late} in {early}"] = {
                    "impressions": int(mask.sum()),
                    "examples": _examples(files[late], mask),
                }
    return overlaps


def overlap_notes(overlaps: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Warnings for each kind of overlap and pair of splits."""
    for kind, places in overlaps.items():
        for place, found in places.items():
            late, _, early = place.partition(" in ")
            what = f"occur in {early} too" if kind == "shared" else f"precede the end of {early}"
            some = ", ".join(found["examples"])
            yield f"{found['impressions']:,} impressions of {late} {what}: {some}"


def find_leaks(parts: Mapping[str, Part], files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Report section on leaks within and between splits, from the finished files."""
    splits = {split: _read(path) for split, path in files.items()}
    leaks: dict[str, dict[str, Any]] = {kind: {} for kind in NOTES}
    leaks["clicked_in_history"] = {split: read.known for split, read in splits.items()}
    for early, late in combinations(parts, 2):
        for kind, ours, theirs in (
            ("same_user_time_and_candidates", parts[late].displays, parts[early].displays),
            ("same_id_user_and_time", splits[late].identities, splits[early].identities),
        ):
            repeated = np.isin(ours, theirs)
            leaks[kind][f"{late} in {early}"] = {
                "impressions": int(repeated.sum()),
                "clicks": int(parts[late].clicks[repeated].sum()),
                "examples": _examples(files[late], repeated),
            }
    return leaks


def leak_notes(leaks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Warnings for each kind of leak and place."""
    for kind, places in leaks.items():
        for place, found in places.items():
            if found["impressions"]:
                unit = "clicks" if kind == "clicked_in_history" else "impressions"
                yield f"{place}: {found[unit]:,} {NOTES[kind]}, such as {found['examples'][0]}"


class _Split(NamedTuple):
    """Hashes of (id, user, time), ``[impressions]``, and clicks on news in the history."""

    identities: NDArray[np.int64]
    known: dict[str, Any]


def _read(path: Path) -> _Split:
    identities = array("q")
    clicks = impressions = 0
    examples: list[str] = []
    for row in progress_bar(read_inter(path), desc=f"Leaks {path.name}", unit=" rows"):
        identities.append(hash(row[:3]))
        clicked = compress(row.candidates.split(" "), map("1".__eq__, row.labels[::2]))
        history = f" {row.history} "
        known = [news_id for news_id in clicked if f" {news_id} " in history]
        clicks += len(known)
        impressions += bool(known)
        if known and len(examples) < EXAMPLES:
            examples.append(f"{_named(row)}, {known[0]}")
    counts = {"clicks": clicks, "impressions": impressions, "examples": examples}
    return _Split(np.array(identities, np.int64), counts)


def _examples(path: Path, mask: NDArray[np.bool_]) -> list[str]:
    """The first impressions in a file that a mask, ``[impressions]``, selects."""
    wanted = np.flatnonzero(mask)[:EXAMPLES].tolist()
    rows = enumerate(read_inter(path))
    return [next(_named(row) for place, row in rows if place == number) for number in wanted]


def _named(row: InterRow) -> str:
    return f"impression {row.impression_id} of {row.user_id}"
