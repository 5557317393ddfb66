"""Metrics of each impression, kept beside the results for tests of significance."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.benchmark.results import METRICS
from recbole_tinynews.data.atomic_files import TokenIndex, read_impressions
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.columns import IMPRESSION_ID
from recbole_tinynews.files.whole import whole_file


class ImpressionMetrics(NamedTuple):
    """What one system with one seed made of each test impression.

    Shapes:
        values: ``[impressions, metrics]``, NaN where skipped.
        of: digest of the impressions' ids.
        users: ``[impressions]``, whose impression it is: numbers from 0 by first occurrence, which
            name nobody. None where that is not known, as in files of earlier versions.
    """

    values: NDArray[np.float32]
    of: str
    users: NDArray[np.integer] | None


def keep_eval_dump(dump: Path, impressions: Path, place: Path) -> None:
    """Turn the csv that ``eval_dump`` writes into arrays at ``place``, a tenth of its size.

    Args:
        dump: the csv.
        impressions: ``NAME.test.inter``, which was ranked and knows the users.
        place: file of the arrays.
    """
    with dump.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ids = [row[IMPRESSION_ID] for row in rows]
    values = np.array(
        [[float(row[name] or "nan") for name in METRICS] for row in rows], np.float32
    ).reshape(len(rows), len(METRICS))
    digest = content_key([name + "\n" for name in ids])
    write_impression_metrics(ImpressionMetrics(values, digest, _users(ids, impressions)), place)


def write_impression_metrics(metrics: ImpressionMetrics, place: Path) -> None:
    """Write them, whole or not at all."""
    arrays: dict[str, Any] = {"values": metrics.values, "ids": np.array(metrics.of)}
    if metrics.users is not None:
        smallest = np.min_scalar_type(metrics.users.max(initial=0))
        arrays["users"] = metrics.users.astype(smallest)
    with whole_file(place) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_impression_metrics(place: Path) -> ImpressionMetrics:
    """Read what ``write_impression_metrics`` has written, in an earlier version too."""
    with np.load(place, allow_pickle=False) as arrays:
        users = arrays["users"].astype(np.int64) if "users" in arrays else None
        return ImpressionMetrics(arrays["values"], str(arrays["ids"]), users)


def pool(parts: Sequence[ImpressionMetrics]) -> ImpressionMetrics:
    """One test set made of those of several data sets, such as the folds of one.

    ``parts`` are of one system and seed. No user of a part is one of another part; users are known
    if every part knows them.
    """
    users = None
    known = [part.users for part in parts if part.users is not None]
    if len(known) == len(parts):
        counts = [int(each.max(initial=-1)) + 1 for each in known]
        starts = np.cumsum([0, *counts])
        users = np.concatenate([each + start for each, start in zip(known, starts, strict=False)])
    return ImpressionMetrics(
        np.concatenate([part.values for part in parts]),
        content_key([part.of for part in parts]),
        users,
    )


def _users(ids: Sequence[str], impressions: Path) -> NDArray[np.int32]:
    """The number of the user of each impression."""
    read = read_impressions(impressions, TokenIndex(), TokenIndex())
    user_of = dict(zip(read.impression_id.tolist(), map(str, read.user.tolist()), strict=True))
    return TokenIndex().ids([user_of[name] for name in ids]) - 1  # 0 of an index is padding
