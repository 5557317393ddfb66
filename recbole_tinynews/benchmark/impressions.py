"""Metrics of each impression, kept beside the results for tests, slices and further metrics."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.benchmark.results import METRICS
from recbole_tinynews.data.atomic_files import TokenIndex, read_impressions
from recbole_tinynews.evaluation.slices import hours_of
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.columns import IMPRESSION_ID
from recbole_tinynews.files.whole import whole_file

_WHOLE_NUMBERS = ("users", "history_lengths", "hours")  # may be unknown


class ImpressionMetrics(NamedTuple):
    """What one system with one seed made of each test impression.

    Shapes:
        values: ``[impressions, metrics]``, NaN where skipped.
        of: digest of the impressions' ids.
        users: ``[impressions]``, whose impression it is: numbers from 0 by first occurrence, which
            name nobody. None where that is not known, as in files of earlier versions.
        history_lengths: ``[impressions]``, in clicks, or None.
        hours: ``[impressions]``, 0 to 23, or None.
        further: ``[impressions]`` by name, of the other metrics that were asked for.
    """

    values: NDArray[np.float32]
    of: str
    users: NDArray[np.integer] | None = None
    history_lengths: NDArray[np.integer] | None = None
    hours: NDArray[np.integer] | None = None
    further: Mapping[str, NDArray[np.float32]] = {}


def keep_eval_dump(dump: Path, impressions: Path, place: Path) -> None:
    """Turn the csv that ``eval_dump`` writes into arrays at ``place``, a tenth of its size.

    Args:
        dump: the csv.
        impressions: ``NAME.test.inter``, which was ranked and knows users, histories and hours.
        place: file of the arrays.
    """
    with dump.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ids = [row[IMPRESSION_ID] for row in rows]
    columns = {
        name: np.array([float(row[name] or "nan") for row in rows], np.float32)
        for name in (rows[0] if rows else METRICS)
        if name != IMPRESSION_ID
    }
    read = read_impressions(impressions, TokenIndex(), TokenIndex())
    row_of = {name: row for row, name in enumerate(read.impression_id.tolist())}
    places = np.array([row_of[name] for name in ids], np.int64)
    kept = ImpressionMetrics(
        np.stack([columns.pop(name) for name in METRICS], axis=1),
        content_key([name + "\n" for name in ids]),
        _numbered(read.user[places]),
        read.history.lengths[places],
        hours_of(read.timestamp[places]),
        columns,
    )
    write_impression_metrics(kept, place)


def write_impression_metrics(metrics: ImpressionMetrics, place: Path) -> None:
    """Write them, whole or not at all."""
    arrays: dict[str, Any] = {"values": metrics.values, "ids": np.array(metrics.of)}
    for name in _WHOLE_NUMBERS:
        numbers = getattr(metrics, name)
        if numbers is not None:
            arrays[name] = numbers.astype(np.min_scalar_type(numbers.max(initial=0)))
    if metrics.further:
        arrays["further_names"] = np.array([*metrics.further])
        arrays["further"] = np.stack([*metrics.further.values()], axis=1)
    with whole_file(place) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_impression_metrics(place: Path) -> ImpressionMetrics:
    """Read what ``write_impression_metrics`` has written, in an earlier version too."""
    with np.load(place, allow_pickle=False) as arrays:
        known = {name: arrays[name].astype(np.int64) for name in _WHOLE_NUMBERS if name in arrays}
        further = {}
        if "further" in arrays:
            names, columns = arrays["further_names"].tolist(), arrays["further"].T
            further = dict(zip(names, columns, strict=True))
        values, of = arrays["values"], str(arrays["ids"])
        return ImpressionMetrics(values, of, **known)._replace(further=further)


def pool(parts: Sequence[ImpressionMetrics]) -> ImpressionMetrics:
    """One test set made of those of several data sets, such as the folds of one.

    ``parts`` are of one system and seed. No user of a part is one of another part. What not every
    part knows is not known of the whole.
    """
    counts = [int(each.users.max(initial=-1)) + 1 for each in parts if each.users is not None]
    starts = np.cumsum([0, *counts])
    apart = [
        None if each.users is None else each.users + start
        for each, start in zip(parts, starts, strict=False)
    ]
    names = [name for name in parts[0].further if all(name in each.further for each in parts)]
    return ImpressionMetrics(
        np.concatenate([part.values for part in parts]),
        content_key([part.of for part in parts]),
        _joined(apart),
        _joined([part.history_lengths for part in parts]),
        _joined([part.hours for part in parts]),
        {name: np.concatenate([part.further[name] for part in parts]) for name in names},
    )


def _joined(parts: Sequence[NDArray[np.integer] | None]) -> NDArray[np.integer] | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _numbered(users: NDArray[np.integer]) -> NDArray[np.int32]:
    """Users as numbers from 0 by first occurrence."""
    return TokenIndex().ids(list(map(str, users.tolist()))) - 1  # 0 of an index is padding
