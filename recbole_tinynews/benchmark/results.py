"""``results.csv``, a row per system and seed with means over seeds; metrics of impressions."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_tinynews.benchmark.suite import Row
from recbole_tinynews.data.atomic_files import Indices, concatenate, read_impressions
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.columns import IMPRESSION_ID
from recbole_tinynews.files.whole import exclusive_lock, whole_file, write_text

METRICS = ("auc", "mrr", "ndcg@5", "ndcg@10")
COLD = tuple(f"cold_{name}" for name in METRICS)  # clicked articles never clicked in training
COLD_COUNT = "cold_impressions"
OWN_BUDGET = ("articles", "tokens", "clicks_x_candidates", "flops")
TEACHERS_BUDGET = tuple(f"teachers_{name}" for name in OWN_BUDGET)
MEASURED = ("news_per_second", "threads", "precision", "device")
COLUMNS = (
    *("system", "seed", *METRICS, "parameters", *MEASURED),
    *("seconds", "impressions", "skipped", *COLD, COLD_COUNT, "environment", "settings"),
    *(*OWN_BUDGET, *TEACHERS_BUDGET),
)
FORMER = {  # columns of committed results
    *("news_per_second_batch_1", "impressions_per_second", "impressions_per_second_cached"),
    "peak_memory_mb",
}
AVERAGED = (
    *(*METRICS, *COLD, COLD_COUNT, "parameters", "news_per_second", "seconds"),
    *(*OWN_BUDGET, *TEACHERS_BUDGET),
)
NEEDED = ("system", "seed", *METRICS, "settings")  # files of earlier versions may lack others
RESULTS = "results.csv"
Key = tuple[str, int, str]


class ResultsFile:
    """Rows by system, seed and fingerprint, written at once; other benchmarks' rows are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = self._read()

    def of(self, system: str, seed: int, settings: str) -> dict[str, str] | None:
        """The row, if it exists."""
        return self.rows.get((system, seed, settings))

    def put(self, row: Mapping[str, Any]) -> None:
        """Add a row, or cells to an existing one; None becomes an empty cell."""
        unknown = sorted(set(row) - set(COLUMNS))
        assert not unknown, f"no columns: {unknown}"
        key = (str(row["system"]), int(row["seed"]), str(row["settings"]))
        cells = {name: _cell(row[name]) for name in COLUMNS if name in row}
        with exclusive_lock(self.path, "writing it"):
            self.rows = self._read()  # with rows that another benchmark has added
            before = self.rows.get(key, {})
            self.rows[key] = {**dict.fromkeys(COLUMNS, ""), **before, **cells}
            write_text(self.path, as_csv(COLUMNS, self.rows.values()))

    def _read(self) -> dict[Key, dict[str, str]]:
        if not self.path.is_file():
            return {}
        with self.path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns = {*(reader.fieldnames or ())}
            if not columns.issuperset(NEEDED) or not columns.issubset({*COLUMNS, *FORMER}):
                raise ValueError(
                    f"{self.path} must have the columns {','.join(COLUMNS)}, got "
                    f"{','.join(reader.fieldnames or ())}. Move it away, or name another --output."
                )
            rows = ({name: row.get(name, "") for name in COLUMNS} for row in reader)
            return {(row["system"], int(row["seed"]), row["settings"]): row for row in rows}


def as_csv(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """CSV with a header."""
    return pd.DataFrame([*rows], columns=[*columns]).to_csv(index=False, lineterminator="\n")


class Mean(NamedTuple):
    """Mean over seeds and sample standard deviation, None for one seed."""

    value: float
    deviation: float | None


class SystemResult(NamedTuple):
    """A system in a report; ``cells`` and ``impressions`` are by seed."""

    row: Row
    means: Mapping[str, Mean]
    cells: Mapping[int, Mapping[str, str]] = {}  # rows of results.csv
    impressions: Mapping[int, Path] = {}  # existing files of per-impression metrics
    why_not: str = ""  # reason for missing results


def summarise(
    row: Row,
    cells: Mapping[int, Mapping[str, str]],
    files: Mapping[int, Path] | None = None,
    why_not: str = "",
) -> SystemResult:
    """Means over the seeds that have results; keeps those of ``files`` that exist."""
    columns = {name: [float(row[name]) for row in cells.values() if row[name]] for name in AVERAGED}
    means = {name: mean for name, values in columns.items() if (mean := mean_of(values))}
    impressions = {seed: file for seed, file in (files or {}).items() if file.is_file()}
    return SystemResult(row, means, cells, impressions, why_not)


def mean_of(values: Iterable[float]) -> Mean | None:
    """Mean and deviation over seeds, without NaN; None without values."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return None
    return Mean(fmean(known), stdev(known) if len(known) > 1 else None)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(round(value, 6)) if isinstance(value, float) else str(value)


class ImpressionMetrics(NamedTuple):
    """Metrics of each test impression, of one system and seed.

    Shapes:
        values: ``[impressions, metrics]``, NaN where skipped.
        of: digest of the impression ids.
        users: ``[impressions]``, anonymous numbers from 0; None if unknown, as in old files.
    """

    values: NDArray[np.float32]
    of: str
    users: NDArray[np.integer] | None = None


ReadFiles = Mapping[str, Mapping[int, ImpressionMetrics]]  # by system and seed


def impressions_file(output: Path, system: str, seed: object, settings: str) -> Path:
    """The file of a run's per-impression metrics; no two runs share one."""
    name = re.sub("[^A-Za-z0-9.-]+", "_", system)
    return output / "impressions" / f"{name}-{seed}-{settings}.npz"


def keep_eval_dump(dump: Path, impressions: Path, place: Path) -> None:
    """Convert the csv ``dump`` into arrays at ``place``; ``impressions`` is ``NAME.test.inter``."""
    # ids are text, even NA or 007; only empty cells are missing
    as_text = {"dtype": {IMPRESSION_ID: str}, "keep_default_na": False, "na_values": [""]}
    table = pd.read_csv(dump, float_precision="round_trip", **as_text)
    ids = table.pop(IMPRESSION_ID).tolist()
    read = concatenate(read_impressions(impressions, Indices()))
    row_of = {name: row for row, name in enumerate(read.impression_id.tolist())}
    places = np.array([row_of[name] for name in ids], np.int64)
    kept = ImpressionMetrics(
        table[list(METRICS)].to_numpy(np.float32),
        content_key([name + "\n" for name in ids]),
        pd.factorize(read.user[places])[0],
    )
    write_impression_metrics(kept, place)


def write_impression_metrics(metrics: ImpressionMetrics, place: Path) -> None:
    """Write a file of arrays atomically."""
    arrays: dict[str, Any] = {"values": metrics.values, "ids": np.array(metrics.of)}
    if (users := metrics.users) is not None:
        arrays["users"] = users.astype(np.min_scalar_type(users.max(initial=0)))
    with whole_file(place) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_impression_metrics(place: Path) -> ImpressionMetrics:
    """Read a file of ``write_impression_metrics``, also of earlier versions."""
    with np.load(place, allow_pickle=False) as arrays:
        users = arrays["users"].astype(np.int64) if "users" in arrays else None
        return ImpressionMetrics(arrays["values"], str(arrays["ids"]), users)


def read_files(files: Mapping[str, Mapping[int, Path]]) -> ReadFiles:
    """Read the files of all systems and seeds."""
    return {
        system: {seed: read_impression_metrics(file) for seed, file in of_system.items()}
        for system, of_system in files.items()
    }


def impression_set(
    read: ReadFiles,
) -> tuple[Mapping[str, Mapping[int, NDArray[np.float32]]], NDArray[np.integer], int | None]:
    """Values, clusters and number of users (None: unknown) of systems on the same impressions.

    ``values`` are ``[impressions, metrics]`` by system and seed, without skipped impressions;
    ``clusters``, ``[impressions]``, numbers from 0 without gaps: users or, without several known
    ones, impressions. Raises ``ValueError`` if systems cover different impressions.
    """
    every = [metrics for of_system in read.values() for metrics in of_system.values()]
    users = _common_users(every)
    ranked = ~np.isnan(every[0].values[:, 0]) if every else np.zeros(0, bool)
    known = np.zeros(int(ranked.sum())) if users is None else users[ranked]
    names, clusters = np.unique(known, return_inverse=True)
    several = len(names) > 1
    values = {
        system: {seed: metrics.values[ranked] for seed, metrics in of_system.items()}
        for system, of_system in read.items()
    }
    return (values, clusters, len(names)) if several else (values, np.arange(len(known)), None)


def _common_users(metrics: Sequence[ImpressionMetrics]) -> NDArray[np.integer] | None:
    """The user of each impression, from any file that has users."""
    known = [of_file.users for of_file in metrics if of_file.users is not None]
    if len({of_file.of for of_file in metrics}) > 1 or any((u != known[0]).any() for u in known):
        raise ValueError(
            "Significance expects every system to have ranked the same impressions of the same "
            "users, got several sets of them. Delete the rows of another data set from "
            "results.csv."
        )
    return known[0] if known else None
