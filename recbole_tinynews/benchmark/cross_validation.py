"""A benchmark on the folds of a cross-validation, with pooled test impressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from recbole_tinynews.benchmark.benchmark import NOT_RUN, Benchmark
from recbole_tinynews.benchmark.impressions import (
    impressions_file,
    pool,
    read_impression_metrics,
    write_impression_metrics,
)
from recbole_tinynews.benchmark.report import write_report
from recbole_tinynews.benchmark.results import (
    METRICS,
    RESULTS,
    Report,
    ResultsFile,
    as_csv,
    summarise,
)
from recbole_tinynews.files.array_cache import content_key
from recbole_tinynews.files.whole import write_text


class CrossValidation:
    """The same benchmark on ``<dataset>-fold1`` and so on; results pool all impressions."""

    def __init__(
        self, folds: int, dataset: str, output: str | Path | None = None, **arguments: Any
    ) -> None:
        self.dataset = dataset
        self.output = Path(output or Path("benchmarks", "results", dataset)).resolve()
        self.parts = [
            Benchmark(dataset=f"{dataset}-{fold}", output=self.output / fold, **arguments)
            for fold in (f"fold{number}" for number in range(1, folds + 1))
        ]

    def run(self, out: TextIO | None = None) -> bool:
        """Run what is missing in each fold and write all reports; True if nothing failed."""
        succeeded = [part.run(out) for part in self.parts]
        self.report()
        return all(succeeded)

    def report(self) -> list[str]:
        """Pool what every fold has, and write tables, significance and figures."""
        first = self.parts[0]
        results = ResultsFile(self.output / RESULTS)
        systems, missing = [], []
        for planned in first.planned:
            label = planned.row.label
            rows: dict[int, Mapping[str, str]] = {}
            files: dict[int, Path] = {}
            for seed in first.seeds:
                found = [part.kept(label, seed) for part in self.parts]
                there = [each for each in found if each is not None]
                if len(there) == len(self.parts):
                    rows[seed], files[seed] = self._pooled(label, seed, there, results)
                for fold, (part, each) in enumerate(zip(self.parts, found, strict=True), start=1):
                    if each is None and planned in first.asked:
                        row = {"system": label, "seed": seed, "fold": fold}
                        missing.append({**row, "reason": part.why_not(label, seed)})
            if rows:
                systems.append(summarise(planned.row, rows, files))
        write_text(self.output / NOT_RUN, as_csv(["system", "seed", "fold", "reason"], missing))
        count = sorted({row["impressions"] for each in systems for row in each.cells.values()})
        notes = [
            f"Data set {self.dataset}: {' or '.join(count) or 'no'} impressions of "
            f"{len(self.parts)} folds, each tested once by a model that has not seen its user."
        ]
        report = Report(first.suite, self.dataset, first.seeds, systems, notes, first.settings)
        return [RESULTS, NOT_RUN, *write_report(self.output, report)]

    def _pooled(
        self,
        label: str,
        seed: int,
        parts: Sequence[tuple[Mapping[str, str], Path]],
        results: ResultsFile,
    ) -> tuple[Mapping[str, str], Path]:
        pooled = pool([read_impression_metrics(file) for _, file in parts])
        mark = content_key([row["settings"] for row, _ in parts])[:12]
        place = impressions_file(self.output, label, seed, mark)
        write_impression_metrics(pooled, place)
        tested = ~np.isnan(pooled.values).all(axis=1)
        means = pooled.values[tested].mean(axis=0).tolist()
        results.put(
            {
                **{"system": label, "seed": seed, "settings": mark},
                **dict(zip(METRICS, means, strict=True)),
                "parameters": parts[0][0]["parameters"],
                "impressions": int(tested.sum()),
                "skipped": int((~tested).sum()),
            }
        )
        return results.rows[label, seed, mark], place
