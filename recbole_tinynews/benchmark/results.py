"""``results.csv``: one row per system and seed, written as each finishes; means over seeds."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from recbole_tinynews.benchmark.suite import Row
from recbole_tinynews.files.whole import exclusive_lock, write_text

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
NEEDED = ("system", "seed", *METRICS, "settings")  # files of earlier versions may lack others
AVERAGED = (
    *(*METRICS, *COLD, COLD_COUNT, "parameters", "news_per_second", "seconds"),
    *(*OWN_BUDGET, *TEACHERS_BUDGET),
)
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
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


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
