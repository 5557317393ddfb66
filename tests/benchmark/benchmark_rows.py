"""What tests of the benchmark share: rows of a table, and a benchmark's words."""

from __future__ import annotations

import io
from typing import Any

from recbole_tinynews.benchmark.benchmark import Benchmark
from recbole_tinynews.benchmark.results import COLUMNS
from recbole_tinynews.benchmark.suite import Row
from recbole_tinynews.benchmark.summary import SystemResult, summarise


def said(benchmark: Benchmark) -> tuple[bool, str]:
    """Run it: whether it succeeded, and what it told."""
    out = io.StringIO()
    return benchmark.run(out), out.getvalue()


def system(label: str, *seeds: dict[str, Any], why_not: str = "", **of_row: Any) -> SystemResult:
    """A row of a table, of cells by seed from 1 on."""
    family = of_row.pop("family", label)
    rows = {
        seed: {**dict.fromkeys(COLUMNS, ""), **{name: str(value) for name, value in cells.items()}}
        for seed, cells in enumerate(seeds, start=1)
    }
    return summarise(Row(label, family, "PLMNR", **of_row), rows, why_not)
