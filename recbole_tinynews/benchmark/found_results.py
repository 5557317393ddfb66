"""The report of results as they stand, without the data and language model they are of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from recbole_tinynews.benchmark.means import SystemResult, summarise
from recbole_tinynews.benchmark.notes import notes_of
from recbole_tinynews.benchmark.planning import file_name
from recbole_tinynews.benchmark.report import Reported, write_report
from recbole_tinynews.benchmark.results import RESULTS, ResultsFile
from recbole_tinynews.benchmark.suite import Suite, read_suite


class FoundResults:
    """Results that another machine, an earlier version, or other settings may have made.

    Of each system and seed the last row counts whose metrics of impressions are there too, or the
    last one if there is none. Nothing is planned, so neither data set nor language model is needed.

    Args:
        suite: name of a suite of the package, or the path of a yaml file.
        dataset: name of the data set.
        seeds: None: those of the suite.
        output: folder of the results; None: benchmarks/results/ and the folder that the suite says.

    Raises:
        ValueError: no such suite, or the folder has no results of its rows.
    """

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
        systems: list[SystemResult] = []
        impressions: dict[str, Mapping[int, Path]] = {}
        shown: list[Mapping[str, str]] = []
        for row in self.suite.rows:
            rows = self._rows(row.label)
            if rows:
                systems.append(summarise(row, rows))
                shown += rows.values()
                places = {seed: self._impressions(cells) for seed, cells in rows.items()}
                impressions[row.label] = {s: file for s, file in places.items() if file.is_file()}
        notes = list(notes_of(self.dataset, shown))
        reported = Reported(
            self.suite, self.dataset, self.seeds, systems, shown, impressions, notes
        )
        return write_report(self.output, reported)

    def _rows(self, label: str) -> dict[int, Mapping[str, str]]:
        """The row of each seed that has one."""
        rows: dict[int, Mapping[str, str]] = {}
        for (system, seed, _), cells in self.results.rows.items():
            if system == label and seed in self.seeds:
                before = rows.get(seed)
                kept = before is not None and self._impressions(before).is_file()
                if not kept or self._impressions(cells).is_file():
                    rows[seed] = cells
        return {seed: rows[seed] for seed in self.seeds if seed in rows}

    def _impressions(self, cells: Mapping[str, str]) -> Path:
        name = file_name(cells["system"], int(cells["seed"]), cells["settings"])
        return self.output / "impressions" / f"{name}.npz"


def _suite_of(suite: str, dataset: str, systems: set[str]) -> Suite:
    """The suite with as many layers of the language model as fits most systems."""
    numbers = {int(each) for name in systems for each in re.findall(r"_(\d+)(?!\d)", name)}
    suites = [read_suite(suite, dataset)]
    for layers in sorted(numbers):
        try:
            suites.append(read_suite(suite, dataset, layers))
        except ValueError:  # two rows would have one label
            continue
    return max(suites, key=lambda each: sum(row.label in systems for row in each.rows))
