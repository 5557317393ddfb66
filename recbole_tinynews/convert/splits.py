"""What is counted of each impression when it is written: the cut by time, overlaps, leaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, compress
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.convert.atomic import Impression
from recbole_tinynews.convert.errors import EXAMPLES, ConversionError
from recbole_tinynews.convert.timestamps import SECONDS_A_DAY, iso

# Of an impression: hashes of (user, time, candidate set) and of (id, user, time); bytes of its row;
# numbers of history, candidates, distinct candidates, clicks, clicks on news of the history.
_NUMBERS = Struct("<qqqiiiiii")
_NAMES = ("time", "display", "identity")
_COUNTS = ("bytes", "history", "candidates", "distinct", "clicks", "known")
_TYPES = np.dtype([*((name, "<i8") for name in _NAMES), *((name, "<i4") for name in _COUNTS)])
_UNLABELLED = -1  # stored as the number of clicks


class ImpressionCounts:
    """Numbers of each impression of a file, in file order, and the news ids in it."""

    def __init__(self) -> None:
        self.candidate_ids: set[str] = set()
        self.history_ids: set[str] = set()
        self._numbers = bytearray()

    def add(self, impression: Impression, row: bytes) -> None:
        """Count an impression and its row in the file."""
        impression_id, user, time, history, candidates, labels, *_ = impression
        distinct = frozenset(candidates)
        self.candidate_ids |= distinct
        self.history_ids.update(history)
        clicked = list(compress(candidates, map("1".__eq__, labels[::2])))
        self._numbers += _NUMBERS.pack(
            time,
            hash((user, time, distinct)),
            hash((impression_id, user, time)),
            len(row),
            len(history),
            len(candidates),
            len(distinct),
            len(clicked) if labels else _UNLABELLED,
            sum(news_id in history for news_id in clicked),
        )

    def numbers(self) -> NDArray[Any]:
        """A structured array, ``[impressions]``."""
        return np.frombuffer(self._numbers, _TYPES)


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
            "candidates": int(candidates.sum(dtype=np.int64)),
            "clicks": int(clicks.clip(0).sum(dtype=np.int64)),
            "empty_histories": int((of["history"] == 0).sum()),
            "without_click": int(without_click.sum()),
            "only_clicks": int(only_clicks.sum()),
            "single_class": int((without_click | only_clicks).sum()),
            "unlabelled": int((clicks == _UNLABELLED).sum()),
            "with_repeated_candidates": int((of["distinct"] < candidates).sum()),
            "first_time": iso(int(of["time"].min())),
            "last_time": iso(int(of["time"].max())),
        }

    def examples(self, mask: NDArray[np.bool_]) -> Iterator[str]:
        """The first impressions that a mask, ``[impressions]``, selects."""
        for impression_id, user, *_ in self._rows(mask):
            yield f"impression {impression_id} of {user}"

    def known_clicks(self) -> dict[str, Any]:
        """Report section on clicks on news that are in the history."""
        known = self.numbers["known"]
        examples = []
        for impression_id, user, _, history, candidates, labels, *_ in self._rows(known > 0):
            clicked = compress(candidates.split(" "), map("1".__eq__, labels[::2]))
            news_id = next(news_id for news_id in clicked if news_id in history.split(" "))
            examples.append(f"impression {impression_id} of {user}, {news_id}")
        counts = {"clicks": int(known.sum()), "impressions": int((known > 0).sum())}
        return {**counts, "examples": examples}

    def _rows(self, mask: NDArray[np.bool_]) -> Iterator[Sequence[str]]:
        """Fields of the first selected rows, read from their places in the file."""
        ends = self.numbers["bytes"].cumsum(dtype=np.int64)
        with self.path.open("rb") as file:
            header = len(file.readline())
            for number in np.flatnonzero(mask)[:EXAMPLES].tolist():
                file.seek(header + int(ends[number] - self.numbers["bytes"][number]))
                yield file.readline().decode()[:-1].split("\t")


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
                    "examples": [*splits[late].examples(mask)],
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


def find_leaks(splits: Mapping[str, Split]) -> dict[str, dict[str, Any]]:
    """Report section on leaks within and between splits."""
    leaks: dict[str, dict[str, Any]] = {
        "clicked_in_history": {name: split.known_clicks() for name, split in splits.items()}
    }
    for kind, number in (
        ("same_user_time_and_candidates", "display"),
        ("same_id_user_and_time", "identity"),
    ):
        leaks[kind] = {}
        for early, late in combinations(splits, 2):
            ours = splits[late].numbers
            repeated = np.isin(ours[number], splits[early].numbers[number])
            leaks[kind][f"{late} in {early}"] = {
                "impressions": int(repeated.sum()),
                "clicks": int(ours["clicks"][repeated].clip(0).sum()),
                "examples": [*splits[late].examples(repeated)],
            }
    return leaks
