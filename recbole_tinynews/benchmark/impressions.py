"""Metrics of each impression, kept beside the results for tests of significance."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_tinynews.benchmark.results import METRICS
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.columns import IMPRESSION_ID
from recbole_tinynews.files.whole import whole_file


class ImpressionMetrics(NamedTuple):
    """``values``: ``[impressions, metrics]``, NaN where skipped; ``of``: digest of the ids."""

    values: NDArray[np.float32]
    of: str


def keep_eval_dump(dump: Path, place: Path) -> None:
    """Turn the csv that ``eval_dump`` writes into arrays at ``place``, a tenth of its size."""
    with dump.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    values = np.array(
        [[float(row[name] or "nan") for name in METRICS] for row in rows], np.float32
    ).reshape(len(rows), len(METRICS))
    ids = np.array(content_key([row[IMPRESSION_ID] + "\n" for row in rows]))
    with whole_file(place) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, values=values, ids=ids)


def read_impression_metrics(place: Path) -> ImpressionMetrics:
    """Read what ``keep_eval_dump`` has written."""
    with np.load(place, allow_pickle=False) as arrays:
        return ImpressionMetrics(arrays["values"], str(arrays["ids"]))
