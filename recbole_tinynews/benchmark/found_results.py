"""A report of existing results, without their data set or language model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from recbole_tinynews.benchmark.impressions import impressions_file
from recbole_tinynews.benchmark.report import write_report
from recbole_tinynews.benchmark.result_table import notes_of_data
from recbole_tinynews.benchmark.results import RESULTS, Report, ResultsFile, summarise
from recbole_tinynews.benchmark.suite import Suite, read_suite


class FoundResults:
    """Results of any machine or settings, the last row of each; arguments as for ``Benchmark``."""

    def __init__(
        self,
        suite: str = "paper",
        dataset: str = "mind-mini",
        seeds: Sequence[int] | None = None,
        output: str | Path | None = None,
    ) -> None:
        declared = read_suite(suite, dataset)
        self.output = Path(output or Path("benchmarks", "results", declared.folder)).resolve()
        self.results = ResultsFile(self.output / RESULTS)
        self.suite = _suite_of(suite, dataset, {system for system, *_ in self.results.rows})
        self.dataset, self.seeds = dataset, list(seeds or self.suite.seeds)
        if not any(self._rows(row.label) for row in self.suite.rows):
            raise ValueError(
                f"A report of found results expects rows of suite {self.suite.name} with seeds "
                f"{', '.join(map(str, self.seeds))}, and {self.results.path} has none. Name "
                "--suite, --dataset, --seeds and --output of the benchmark."
            )

    def report(self) -> list[str]:
        """Write tables, significance and figures; returns the file names."""
        systems = []
        for row in self.suite.rows:
            if rows := self._rows(row.label):
                files = {seed: self._impressions(cells) for seed, cells in rows.items()}
                systems.append(summarise(row, rows, files))
        shown = [cells for each in systems for cells in each.cells.values()]
        notes = list(notes_of_data(self.dataset, shown))
        report = Report(self.suite, self.dataset, self.seeds, systems, notes)
        return write_report(self.output, report)

    def _rows(self, label: str) -> dict[int, Mapping[str, str]]:
        rows: dict[int, Mapping[str, str]] = {}
        for (system, seed, _), cells in self.results.rows.items():
            if system == label and seed in self.seeds:
                before = rows.get(seed)
                kept = before is not None and self._impressions(before).is_file()
                if not kept or self._impressions(cells).is_file():
                    rows[seed] = cells
        return {seed: rows[seed] for seed in self.seeds if seed in rows}

    def _impressions(self, cells: Mapping[str, str]) -> Path:
        return impressions_file(self.output, cells["system"], cells["seed"], cells["settings"])


def _suite_of(suite: str, dataset: str, systems: set[str]) -> Suite:
    """The suite, for the depth of language model that matches most systems."""
    numbers = {int(each) for name in systems for each in re.findall(r"_(\d+)(?!\d)", name)}
    suites = [read_suite(suite, dataset)]
    for layers in sorted(numbers):
        try:
            suites.append(read_suite(suite, dataset, layers))
        except ValueError:  # duplicate labels
            continue
    return max(suites, key=lambda each: sum(row.label in systems for row in each.rows))
