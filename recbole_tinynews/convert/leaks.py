"""Answers that a data set gives away: clicks known from the history, impressions shared by splits.

The finished ``.inter`` files are read once more, so that what is checked is what will be used. Of
each impression two 64-bit hashes are kept, 36 MB for MIND-large's training set.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
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


class _Split(NamedTuple):
    """Hashes and counts of one split.

    Shapes:
        shown, identity: ``[impressions]``, hashes of (user, time, candidates) and (id, user, time).
        clicks: ``[impressions]``, how many clicks each has.
    """

    shown: NDArray[np.int64]
    identity: NDArray[np.int64]
    clicks: NDArray[np.int32]
    known_clicks: int
    known_impressions: int
    examples: list[str]


def check_order(parts: Mapping[str, Part]) -> None:
    """Refuse a test set that lies before its training set: the two were swapped.

    Raises:
        ConversionError: it does.
    """
    if "test" in parts and parts["test"].timestamps.max() < parts["train"].timestamps.min():
        end, start = (
            iso(int(time))
            for time in (parts["test"].timestamps.max(), parts["train"].timestamps.min())
        )
        raise ConversionError(
            f"--test: expected impressions later than those of --train, got a test set that ends "
            f"({end}) before the training set starts ({start}). Swap --train and --test."
        )


def find_overlaps(
    parts: Mapping[str, Part], files: Mapping[str, Path], in_time: bool
) -> dict[str, dict[str, Any]]:
    """Impressions that a later split shares with an earlier one, or, ``in_time``, precede its end.

    Shared means the same user, time and set of candidates. Only what was found has an entry.
    """
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
                    "examples": list(_examples(files[late], np.flatnonzero(mask)[:EXAMPLES])),
                }
    return overlaps


def overlap_notes(overlaps: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    """A warning for each kind and pair of splits."""
    for kind, places in overlaps.items():
        for place, found in places.items():
            late, _, early = place.partition(" in ")
            what = f"occur in {early} too" if kind == "shared" else f"precede the end of {early}"
            some = ", ".join(found["examples"])
            yield f"{found['impressions']:,} impressions of {late} {what}: {some}"


def find_leaks(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """The section of the report about leaks within and between the given splits.

    Candidates are compared as a set, without labels: MIND shuffles them, and a test set may be
    unlabelled. Examples are impressions of the later split.
    """
    splits = {split: _read(path) for split, path in files.items()}
    leaks: dict[str, dict[str, Any]] = {kind: {} for kind in NOTES}
    for split, read in splits.items():
        leaks["clicked_in_history"][split] = {
            "clicks": read.known_clicks,
            "impressions": read.known_impressions,
            "examples": read.examples,
        }
    for early, late in combinations(splits, 2):
        for kind, ours, theirs in (
            ("same_user_time_and_candidates", splits[late].shown, splits[early].shown),
            ("same_id_user_and_time", splits[late].identity, splits[early].identity),
        ):
            repeated = np.isin(ours, theirs)
            leaks[kind][f"{late} in {early}"] = {
                "impressions": int(repeated.sum()),
                "clicks": int(splits[late].clicks[repeated].sum()),
                "examples": list(_examples(files[late], np.flatnonzero(repeated)[:EXAMPLES])),
            }
    return leaks


def leak_notes(leaks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    """A warning for each kind and place that leaks."""
    for kind, places in leaks.items():
        for place, found in places.items():
            if found["impressions"]:
                unit = "clicks" if kind == "clicked_in_history" else "impressions"
                yield f"{place}: {found[unit]:,} {NOTES[kind]}, such as {found['examples'][0]}"


def _read(path: Path) -> _Split:
    shown, identity, clicks = array("q"), array("q"), array("i")
    known_clicks = known_impressions = 0
    examples: list[str] = []
    rows = progress_bar(read_inter(path), desc=f"Leaks {path.name}", unit=" rows")
    for row in rows:
        candidates = row.candidates.split(" ")
        clicked = _clicked(candidates, row.labels)
        shown.append(hash((row.user_id, row.timestamp, frozenset(candidates))))
        identity.append(hash(row[:3]))
        clicks.append(len(clicked))
        history = f" {row.history} "
        known = [news_id for news_id in clicked if f" {news_id} " in history]
        known_clicks += len(known)
        known_impressions += bool(known)
        if known and len(examples) < EXAMPLES:
            examples.append(f"{_named(row)}, {known[0]}")
    return _Split(
        np.array(shown, np.int64),
        np.array(identity, np.int64),
        np.array(clicks, np.int32),
        known_clicks,
        known_impressions,
        examples,
    )


def _clicked(candidates: list[str], labels: str) -> list[str]:
    clicked = []
    place = labels.find("1")
    while place >= 0:
        clicked.append(candidates[place // 2])  # a label and a space each
        place = labels.find("1", place + 1)
    return clicked


def _examples(path: Path, numbers: Iterable[int]) -> Iterator[str]:
    wanted = set(numbers)
    for number, row in enumerate(read_inter(path) if wanted else ()):
        if number in wanted:
            yield _named(row)
            wanted.remove(number)
            if not wanted:
                return


def _named(row: InterRow) -> str:
    return f"impression {row.impression_id} of {row.user_id}"
