"""What is counted of each impression when it is written: the cut by time, overlaps of splits."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from itertools import combinations, compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.convert.atomic import Impression
from recbole_tinynews.convert.errors import EXAMPLES, ConversionError
from recbole_tinynews.convert.readers.cells import SECONDS_A_DAY, iso

# Of an impression: hash of user, time and candidate set; numbers of history, candidates, distinct
# candidates, clicks, clicks on news of the history.
_NUMBERS = ("time", "display", "history", "candidates", "distinct", "clicks", "known")
_UNLABELLED = -1  # stored as the number of clicks


class ImpressionCounts:
    """Numbers of each impression of a file, in file order, and the news ids in it."""

    def __init__(self) -> None:
        self.candidate_ids: set[str] = set()
        self.history_ids: set[str] = set()
        self._numbers = array("q")

    def add(self, impression: Impression) -> None:
        """Count the next impression of the file."""
        _, user, time, history, candidates, labels, *_ = impression
        distinct = frozenset(candidates)
        self.candidate_ids |= distinct
        self.history_ids.update(history)
        clicked = list(compress(candidates, map("1".__eq__, labels[::2])))
        self._numbers.extend(
            (
                time,
                hash((user, time, distinct)),
                len(history),
                len(candidates),
                len(distinct),
                len(clicked) if labels else _UNLABELLED,
                sum(news_id in history for news_id in clicked),
            )
        )

    def numbers(self) -> NDArray[Any]:
        """A structured array, ``[impressions]``."""
        return np.frombuffer(self._numbers, [(name, np.int64) for name in _NUMBERS])


def last_day(times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask of the last UTC day; ``ConversionError`` if there is no earlier day."""
    days = times // SECONDS_A_DAY
    latest = days == days.max()
    if latest.all():
        raise ConversionError(
            "--valid=last-day expects training impressions of at least two days, got only "
            f"{iso(int(times[0]))[:10]}. Pass a fraction, such as --valid=0.1, or a folder."
        )
    return latest


def latest_fraction(times: NDArray[np.int64], fraction: float) -> NDArray[np.bool_]:
    """Mask of the latest part, ties in file order; ``ConversionError`` if either part is empty."""
    count = round(len(times) * fraction)
    if not 0 < count < len(times):
        raise ConversionError(
            f"--valid={fraction} expects to leave impressions on both sides, got {count} of "
            f"{len(times)} for validation. Pass another fraction or a folder."
        )
    latest = np.zeros(len(times), dtype=bool)
    latest[np.argsort(times, kind="stable")[-count:]] = True
    return latest


class Split(NamedTuple):
    """A written ``.inter`` and the numbers of its impressions."""

    path: Path
    numbers: NDArray[Any]

    @property
    def labelled(self) -> bool:
        """Whether every impression is labelled."""
        return bool((self.numbers["clicks"] != _UNLABELLED).all())

    def summary(self) -> dict[str, Any]:
        """Report section on these impressions."""
        of = self.numbers
        clicks, candidates = of["clicks"], of["candidates"]
        without_click, only_clicks = clicks == 0, clicks == candidates
        return {
            "impressions": len(of),
            "candidates": int(candidates.sum()),
            "clicks": int(clicks.clip(0).sum()),
            "clicks_on_history": int(of["known"].sum()),
            "empty_histories": int((of["history"] == 0).sum()),
            "without_click": int(without_click.sum()),
            "only_clicks": int(only_clicks.sum()),
            "single_class": int((without_click | only_clicks).sum()),
            "unlabelled": int((clicks == _UNLABELLED).sum()),
            "with_repeated_candidates": int((of["distinct"] < candidates).sum()),
            "first_time": iso(int(of["time"].min())),
            "last_time": iso(int(of["time"].max())),
        }

    def examples(self, mask: NDArray[np.bool_]) -> list[str]:
        """Lines of the file with the first impressions that a mask, ``[impressions]``, selects."""
        return [f"{self.path.name}:{row + 2}" for row in np.flatnonzero(mask)[:EXAMPLES].tolist()]


def check_order(splits: Mapping[str, Split]) -> None:
    """Raise ``ConversionError`` if the test set precedes the training set: they were swapped."""
    if "test" not in splits:
        return
    end, start = (
        splits["test"].numbers["time"].max(),
        splits["train"].numbers["time"].min(),
    )
    if end < start:
        raise ConversionError(
            f"--test: expected impressions later than those of --train, got a test set that ends "
            f"({iso(int(end))}) before the training set starts ({iso(int(start))}). Swap --train "
            "and --test."
        )


def find_overlaps(splits: Mapping[str, Split]) -> dict[str, dict[str, Any]]:
    """Report section on impressions that an earlier split has, or that precede its end."""
    overlaps: dict[str, dict[str, Any]] = {}
    for early, late in combinations(splits, 2):
        ours, theirs = splits[late].numbers, splits[early].numbers
        for kind, mask in (
            ("shared", np.isin(ours["display"], theirs["display"])),
            ("earlier", ours["time"] < theirs["time"].max()),
        ):
            if mask.any():
                overlaps.setdefault(kind, {})[f"{late} in {early}"] = {
                    "impressions": int(mask.sum()),
                    "examples": splits[late].examples(mask),
                }
    return overlaps


def overlap_notes(overlaps: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Warnings for each kind of overlap and pair of splits."""
    for kind, pairs in overlaps.items():
        for pair, counts in pairs.items():
            late, _, early = pair.partition(" in ")
            what = f"occur in {early} too" if kind == "shared" else f"precede the end of {early}"
            examples = ", ".join(counts["examples"])
            yield f"{counts['impressions']:,} impressions of {late} {what}: {examples}"
